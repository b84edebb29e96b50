"""Row 17: bombs, truncated files, polyglots, wrong types, huge EXIF.

Each is sent to the API. Then it is put where only a worker looks at it, as a file recorded by an
API with other limits.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from shared.contracts import FileRecord, new_id
from tests.faults.load import caption
from tests.hostile import EITHER, REFUSED, TAKEN
from tests.waiting import PATIENCE_S

TITLE = "bombs, truncated files, polyglots, wrong types, huge EXIF"
# A picture of MAX_PIXELS takes 400 MB while it is decoded, and a process decodes two at once beside
# what it is itself after hours of work; six at once, as many as are sent, would take 2.5 GB.
MEMORY_MB = 1800
CLIENTS = 6


def peak_mb(pid):
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def api_pids(cluster):
    master = cluster.pid("api")
    children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]


@pytest.mark.row(17, TITLE)
def test_the_api_refuses_or_takes_them(cluster, row):
    files = {**REFUSED, **TAKEN, **EITHER}
    for trial in row.trials(cluster, short=1, full=4):
        order = trial.chance.sample(sorted(files), len(files))

        def upload(name):
            parts = {"file": ("picture.png", files[name]())}
            return name, httpx.post(f"{cluster.api_url}/v1/files", files=parts, timeout=PATIENCE_S)

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = dict(pool.map(upload, order))
        for name, answer in answers.items():
            refused = answer.status_code in (400, 413, 415, 422)
            assert refused or answer.status_code == 201, f"{name}: {answer.text}"
            assert refused or name not in REFUSED, f"{name}: taken"
            assert not refused or name not in TAKEN, f"{name}: {answer.text}"
            if refused:
                assert answer.headers["content-type"] == "application/problem+json"
            else:
                trial.submit({"kind": "caption", "input": {"image": answer.json()["id"]}})
        assert max(map(peak_mb, api_pids(cluster))) < MEMORY_MB
        trial.settle()


@pytest.mark.row(17, TITLE)
def test_a_worker_fails_them_and_nothing_else(cluster, row):
    files = {**REFUSED, **TAKEN, **EITHER}
    for trial in row.trials(cluster, short=1, full=4):
        for name in trial.chance.sample(sorted(files), len(files)):
            ends = ("failed",) * (name not in TAKEN) + ("succeeded",) * (name not in REFUSED)
            image = recorded(cluster, files[name]())
            trial.submit({"kind": "caption", "input": {"image": image}}, *ends)
            trial.submit(caption(trial.chance.randrange(50)))
        large = recorded(cluster, TAKEN["99,980,001 pixels"]())
        for _ in range(CLIENTS):
            trial.submit({"kind": "caption", "input": {"image": large}})
        trial.healed()
        trial.settle()
        for job in map(cluster.ledger.get, trial.accepted):
            if job.error:
                assert job.error.code == "invalid_image"
                assert job.steps[0].attempts == 1
        workers = [name for name in cluster.worker_names if name.startswith("captioner")]
        assert max(peak_mb(cluster.pid(name)) for name in workers) < MEMORY_MB


def recorded(cluster, data):
    """The id of a file of these bytes, put there without being looked at."""
    file_id = f"file_{new_id('x')[2:]:0<32}"
    key = f"files/default/{file_id}/put-by-hand"
    cluster.store.put(key, data, "image/png")
    cluster.ledger.put_file(
        FileRecord(
            id=file_id,
            tenant="default",
            purpose="image",
            key=key,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            media_type="image/png",
            created_at=0,
            expires_at=600_000,
        )
    )
    return file_id
