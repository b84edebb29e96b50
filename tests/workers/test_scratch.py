"""Temporary folders: one per model process, and none outlives its worker for long."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, until
from workers.model_process import ROOT, ModelProcess
from workers.predictor import Batch, Checkpoint
from workers.scratch import Scratch, remove_abandoned

FAKE = "tests.workers.fake_family:Fake"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The worker's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def where(process: ModelProcess) -> Path:
    future = process.submit(Batch("m", {}, 1, [{"do": "write", "bytes": 9}]), lambda *_: None)
    return Path(future.result(PATIENCE_S).results[0]["folder"])


def test_each_model_process_has_a_folder_that_goes_with_it(folder: Path) -> None:
    process = ModelProcess(FAKE, "cpu", [Checkpoint("m", Path("m"), "r1")])
    try:
        assert process.wait_ready(PATIENCE_S)
        first = where(process)
        assert first.parent == folder
        assert first.name.startswith(f"imagemill-{os.getpid()}-")
        assert len(list(first.iterdir())) == 1
        process.kill()
        until(lambda: not first.exists())
        assert process.wait_ready(PATIENCE_S)
        assert where(process) != first
    finally:
        process.close()
    assert list(folder.iterdir()) == []


def test_the_folder_of_a_killed_worker_is_removed_and_that_of_a_live_one_kept(
    folder: Path,
) -> None:
    script = "from workers.scratch import Scratch; it = Scratch(); print(it.folder); input()"
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        text=True,
    ) as worker:
        assert worker.stdout
        theirs = Path(worker.stdout.readline().strip())
        (theirs / "file").write_text("x")
        ours = Scratch()
        (folder / "imagemill-else").mkdir()
        (folder / "imagemill-1-link").symlink_to(folder)
        remove_abandoned()
        assert theirs.exists()
        worker.send_signal(signal.SIGKILL)
    reused = theirs.rename(folder / f"imagemill-{os.getpid()}-x")  # a live process's pid
    remove_abandoned()
    assert not reused.exists()
    assert ours.folder.exists()
    left = {path.name for path in folder.iterdir()}
    assert left == {ours.folder.name, "imagemill-else", "imagemill-1-link"}
    ours.close()
    assert not ours.folder.exists()


def test_workers_that_start_at_once_do_not_take_each_others_folders(folder: Path) -> None:
    script = """
import sys
from workers.scratch import Scratch, remove_abandoned
for _ in range(200):
    remove_abandoned()
    it = Scratch()
    (it.folder / "file").write_text("x")
    it.close()
"""
    environment = {**os.environ, "TMPDIR": str(folder)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0]
    assert list(folder.iterdir()) == []


FULL = f"""
import json, sys, tempfile
from pathlib import Path
from workers.model_process import ModelProcess
from workers.predictor import Batch, Checkpoint
tempfile.tempdir = sys.argv[1]
process = ModelProcess({FAKE!r}, "cpu", [Checkpoint("m", Path("m"), "r1")])
assert process.wait_ready({PATIENCE_S})
pid, codes = process.pid, []
for bytes in (100_000, 5_000_000, 800_000):
    future = process.submit(
        Batch("m", {{}}, 1, [{{"do": "write", "bytes": bytes}}]), lambda *_: None
    )
    error = future.exception({PATIENCE_S})
    codes.append(error and [error.code, error.message])
assert process.pid == pid
process.close()
print(json.dumps([codes, [path.name for path in Path(sys.argv[1]).iterdir()]]))
"""


def test_a_full_disk_is_named_and_emptied(folder: Path) -> None:
    """On a small disk of its own, in a namespace: the mount ends with the process."""
    namespace = next(
        (
            command
            for command in (["unshare", "-rm"], ["unshare", "-m"])
            if shutil.which("unshare")
            and not subprocess.run(
                [*command, "mount", "-t", "tmpfs", "none", str(folder)], capture_output=True
            ).returncode
        ),
        None,
    )
    if namespace is None:
        pytest.skip("nothing can be mounted here")
    disk = folder / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    done = subprocess.run(
        [*namespace, "sh", "-c", mount, str(disk), sys.executable, "-c", FULL, str(disk)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    full = ["disk_full", "[Errno 28] No space left on device"]
    assert done.stdout.strip().splitlines()[-1] == json.dumps([[None, full, None], []])
