"""Memory that runs out, the device's and the machine's, and who pays for it."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.errors import DiskFull, OutOfMemory
from tests.waiting import PATIENCE_S
from tests.workers.test_step_task import World, png
from workers import step_inputs
from workers.batcher import MicroBatcher
from workers.model_main import recovered
from workers.model_process import ROOT, ModelProcess
from workers.resources import PREFERRED_VICTIM, OomKills, exhaustion, kills

FAKE = "tests.workers.fake_family:Fake"


def chained() -> RuntimeError:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise KeyError("a cache") from error
    except KeyError:
        try:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        except RuntimeError as error:
            return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (MemoryError(), OutOfMemory, "MemoryError"),
        (RuntimeError("CUDA out of memory. Tried\nto"), OutOfMemory, "CUDA out of memory. Tried"),
        (RuntimeError("CUDA error: out of memory"), OutOfMemory, "CUDA error: out of memory"),
        (OSError(errno.ENOMEM, "Cannot"), OutOfMemory, "[Errno 12] Cannot"),
        (chained(), OutOfMemory, "MemoryError"),
        (OSError(errno.ENOSPC, "full"), DiskFull, "[Errno 28] full"),
        (OSError(errno.EDQUOT, "quota"), DiskFull, "[Errno 122] quota"),
        (ValueError("I/O error: No space left on device (os error 28)"), DiskFull, None),
        (OSError(errno.EACCES, "no"), None, None),
        (RuntimeError("CUDA error: device-side assert triggered"), None, None),
    ],
)
def test_what_ran_out_is_told(
    error: Exception, kind: type[Exception] | None, message: str | None
) -> None:
    told = exhaustion(error)
    assert type(told) is (kind or type(None))
    assert message is None or str(told) == message


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("nr_free_pages 5\noom_kill 3\nnuma_hit 7\n", 3),  # /proc/vmstat
        ("low 0\nhigh 0\nmax 9\noom 4\noom_kill 12\noom_group_kill 0\n", 12),  # version 2
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),  # version 1
        ("oom_kill_disable 0\nunder_oom 0\n", None),  # version 1 of an old kernel
    ],
)
def test_the_kernels_counter(tmp_path: Path, text: str, count: int | None) -> None:
    file = tmp_path / "counters"
    file.write_text(text)
    assert kills(file) == count
    assert kills(tmp_path / "missing") is None


def test_no_kill_is_seen_where_none_happened() -> None:
    assert not OomKills(os.getpid()).rose()


def test_the_model_process_is_the_kernels_preferred_victim(process: ModelProcess) -> None:
    assert process.wait_ready(PATIENCE_S)
    ours, theirs = (
        int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", process.pid)
    )
    assert theirs == max(ours, PREFERRED_VICTIM)


def test_a_device_that_works_is_kept() -> None:
    pytest.importorskip("torch")
    assert recovered("cpu")
    assert not recovered("cuda:99")


@pytest.mark.parametrize("do", ["lose the device", "fill memory"])
def test_only_the_sample_that_is_too_large_fails(batcher: MicroBatcher, do: str) -> None:
    guilty = batcher.submit("m", {}, 2, [{"text": "a", "do": do}])
    neighbour = batcher.submit("m", {}, 2, [{"text": "b"}])
    assert isinstance(guilty.future.exception(PATIENCE_S), OutOfMemory)
    assert neighbour.result().results[0]["text"] == "b"


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of little memory, of either version."""
    groups = Path("/sys/fs/cgroup")
    for parent, limit in ((groups, "memory.max"), (groups / "memory", "memory.limit_in_bytes")):
        folder = parent / f"imagemill-test-{os.getpid()}"
        with suppress(OSError):
            folder.mkdir()
            if (folder / limit).exists():
                (folder / limit).write_text(str(256 * 2**20))
                yield folder
                end = time.monotonic() + PATIENCE_S
                while (folder / "cgroup.procs").read_text() and time.monotonic() < end:
                    time.sleep(0.05)
                folder.rmdir()
                return
            folder.rmdir()
    pytest.skip("no control group can be made here")


WORKER = f"""
import json, os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from workers.batcher import MicroBatcher
from workers.model_process import ModelProcess
from workers.predictor import Checkpoint
process = ModelProcess({FAKE!r}, "cpu", [Checkpoint("m", Path("m"), "r1")])
assert process.wait_ready({PATIENCE_S})
batcher = MicroBatcher(process)
guilty = batcher.submit("m", {{}}, 2, [{{"do": "eat", "mb": 600}}])
neighbour = batcher.submit("m", {{}}, 2, [{{"text": "a"}}])
error = guilty.future.exception({PATIENCE_S})
print(json.dumps([error.code, error.message, neighbour.result().results[0]["text"]]))
batcher.close()
process.close()
"""


def test_the_kernels_out_of_memory_killer_is_recognised(group: Path) -> None:
    """A worker and a model process that together may have 256 MB; a batch that wants 600."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(group)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "out_of_memory",
        "the kernel ended the model process for want of memory",
        "a",
    ]


def test_a_worker_decodes_two_pictures_at_once(
    batcher: MicroBatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, now, most = step_inputs.decode, [], []

    def counted(*arguments: Any) -> Image.Image:
        now.append(1)
        most.append(len(now))
        try:
            time.sleep(0.05)
            return decode(*arguments)
        finally:
            now.pop()

    monkeypatch.setattr(step_inputs, "decode", counted)
    world = World(batcher)
    try:
        files = [world.upload(png((20 + i, 10))) for i in range(8)]
        jobs = [world.submit("caption", "captioner", files=(f,), image=f) for f in files]
        threads = [threading.Thread(target=world.runner.run, args=(job, 0)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    finally:
        world.keeper.close()
    assert len(most) == 8
    assert max(most) == 2
