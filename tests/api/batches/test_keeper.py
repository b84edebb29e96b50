import json
import time

import pytest

from api.batches import keeper as module
from api.batches.keeper import Keeper
from shared.contracts import FileRecord
from shared.layout import batch_manifest_key

DAY_MS = 86_400_000


@pytest.fixture
def keeper(keeping):
    return Keeper(keeping.services)


@pytest.fixture
def lines_file(keeping):
    """Uploads request lines for the endpoint /v1/jobs."""

    def upload(count: int, name: str = "requests") -> str:
        body = {"kind": "translate", "input": {"text": "a cat", "target": "arb_Arab"}}
        lines = [
            {"custom_id": f"r{n}", "method": "POST", "url": "/v1/jobs", "body": body}
            for n in range(count)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        key = f"files/default/{name}"
        keeping.store.put(key, text, "application/jsonl")
        record = FileRecord(
            id=f"file_{name}",
            tenant="default",
            purpose="batch",
            key=key,
            bytes=len(text),
            sha256="0" * 64,
            media_type="application/jsonl",
            created_at=0,
            expires_at=DAY_MS,
        )
        return keeping.ledger.put_file(record).id

    return upload


def until(keeping, keeper, batch_id, *statuses, tries=400):
    """Let the keeper and the workers work until the batch has one of the statuses."""
    for _ in range(tries):
        keeper.round()
        for job_id in keeping.jobs(batch_id):
            keeping.run(job_id)
        batch = keeping.ledger.batch(batch_id)
        if batch.status in statuses:
            return batch
        time.sleep(0.01)
    raise AssertionError(batch.status)


def test_from_the_source_to_the_results(keeping, keeper, lines_file):
    batch_id = keeping.record({"endpoint": "/v1/jobs", "input_file_id": lines_file(200)})
    done = until(keeping, keeper, batch_id, "completed")
    results, errors = keeping.lines(done)
    assert [line["custom_id"] for line in results] == [f"r{n}" for n in range(200)]
    assert errors == []
    assert len(done.notes["slowest"]) == 10
    saved = json.loads(keeping.store.get(batch_manifest_key(batch_id)))
    assert saved["status"] == "completed"
    assert saved["output_file_id"] == done.output_file_id


def test_measured_work_is_remembered(keeping, keeper, lines_file, monkeypatch):
    told = {}
    note_pace = keeping.ledger.note_pace

    def noted(signature, items, ms):
        told[signature] = told.get(signature, 0) + items
        note_pace(signature, items, ms)

    monkeypatch.setattr(keeping.ledger, "note_pace", noted)
    batch_id = keeping.record({"endpoint": "/v1/jobs", "input_file_id": lines_file(100)})
    done = until(keeping, keeper, batch_id, "completed")
    [(signature, items)] = told.items()
    assert items == done.notes["ran"] == 100
    assert keeping.ledger.pace(signature).ms > 0
    [outcome] = keeping.ledger.outcomes(signature)
    assert (outcome["batch_id"], outcome["items"], outcome["forecast_s"]) == (batch_id, 100, None)
    assert outcome["took_s"] > 0


def test_one_bad_batch_holds_up_no_other(keeping, keeper, lines_file, monkeypatch):
    bad = keeping.create(keeping.pictures(3))
    good = keeping.record({"endpoint": "/v1/jobs", "input_file_id": lines_file(70)})
    advance = keeper._chunks.advance

    def breaks(batch, pace):
        if batch.id == bad:
            raise ValueError("a defect")
        return advance(batch, pace)

    monkeypatch.setattr(keeper._chunks, "advance", breaks)
    assert until(keeping, keeper, good, "completed").counts.completed == 70
    assert keeping.ledger.batch(bad).status == "in_progress"


def test_s3_that_is_away_is_waited_for(keeping, keeper, lines_file, monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_S", 0.01)
    batch_id = keeping.record({"endpoint": "/v1/jobs", "input_file_id": lines_file(70)})
    until(keeping, keeper, batch_id, "in_progress")
    keeping.store.down = True
    for _ in range(5):
        keeper.round()
        time.sleep(0.01)
    keeping.store.down = False
    assert until(keeping, keeper, batch_id, "completed").counts.completed == 70


def test_a_batch_has_one_keeper_at_a_time(keeping, keeper):
    batch_id = keeping.create(keeping.pictures(3))
    keeper.round()
    other = Keeper(keeping.services)
    for job_id in keeping.jobs(batch_id):
        keeping.run(job_id)
    other.round()
    assert keeping.ledger.batch(batch_id).status == "in_progress"
    keeping.ledger.advance(int(module.TURN_S * 1000))
    other.round()
    assert keeping.ledger.batch(batch_id).status == "finalizing"


def test_outside_its_window_a_batch_pauses_by_itself(keeping, keeper):
    batch_id = keeping.create(keeping.pictures(100), window="22:00–06:00")
    keeping.store.now = lambda: 12 * 3_600_000  # noon, long ago
    keeper.round()
    batch = keeping.ledger.batch(batch_id)
    assert (batch.status, batch.paused_by, batch.open) == ("paused", "schedule", {})
    keeping.store.now = lambda: 22 * 3_600_000
    keeper.round()
    assert keeping.ledger.batch(batch_id).status == "in_progress"


def test_a_users_pause_outlives_the_schedules(keeping, keeper):
    batch_id = keeping.create(keeping.pictures(100), start_at="2026-03-01T00:00:00Z")
    keeping.store.now = lambda: 0
    keeper.round()
    keeping.ledger.pause_batch(batch_id)
    keeping.store.now = lambda: int(time.time() * 1000)
    keeper.round()
    assert keeping.ledger.batch(batch_id).status == "paused"


def test_a_deleted_batch_is_let_go(keeping, keeper):
    batch_id = keeping.create(keeping.pictures(100))
    keeper.round()
    assert batch_id in keeper._kept
    keeping.ledger.delete_batch(batch_id)
    keeper.round()
    assert not keeper._kept
