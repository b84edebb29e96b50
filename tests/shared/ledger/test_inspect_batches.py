"""batch_errors: whatever is changed behind the ledger's back is found, and nothing else."""

from collections.abc import Callable

import pytest
import redis

from shared.contracts import BatchPlace
from shared.ledger.inspect import index_errors
from shared.settings import Settings
from tests.shared.ledger.world import ClockedLedger, World, new_batch, new_file, new_job


@pytest.fixture
def client(ledger_client: redis.Redis, settings: Settings) -> redis.Redis:
    """A batch with an open chunk and a job, one that has failed and one with a key."""
    ledger = World(ClockedLedger(ledger_client, settings)).ledger
    ledger.put_file(new_file())
    for name in ("batch_open", "batch_failed"):
        ledger.create_batch(new_batch(id=name, files=("file_1",)))
    ledger.create_batch(new_batch(id="batch_new"), ("key", "digest"))
    ledger.fail_batch("batch_failed", [])
    ledger.indexed("batch_open", 3, 192, 1)
    opened = ledger.open_chunk("batch_open", 8)
    assert opened
    place = BatchPlace(batch_id="batch_open", chunk=opened[0], opening=opened[1].opening)
    ledger.submit(new_job("captioner", id="job_1", batch=place))
    assert list(index_errors(ledger_client)) == []
    return ledger_client


def jobs_of(client: redis.Redis) -> str:
    return next(client.scan_iter("batch:batch_open:jobs:*"))


CHANGES: dict[str, tuple[Callable[[redis.Redis], object], str]] = {
    "a batch's hash is lost": (lambda c: c.delete("batch:batch_new"), "batches:t: batch_new is"),
    "its open chunks are left": (lambda c: c.delete("batch:batch_open"), ":open: its batch is gon"),
    "not listed": (lambda c: c.zrem("batches:t", "batch_new"), "batches:t: batch:batch_new has"),
    "not at work": (lambda c: c.zrem("batches:active", "batch_new"), "batches:active: batch:"),
    "at work for ever": (
        lambda c: c.zadd("batches:active", {"batch_failed": 5}),
        "batches:active: batch:batch_failed has the score 5",
    ),
    "no end": (lambda c: c.zrem("expires", "batch:batch_failed"), "expires: batch:batch_failed"),
    "an early end": (lambda c: c.zadd("expires", {"batch:batch_new": 5}), "has the score 5"),
    "the end of none": (lambda c: c.zadd("expires", {"batch:x": 5}), "expires: batch:x is there"),
    "a key without its batch": (
        lambda c: c.hset("idempotency:t:other", "job", "batch_new"),
        "idempotency:t:other: batch_new is there",
    ),
    "an ended batch with open chunks": (
        lambda c: c.hset("batch:batch_open", "status", "finalizing"),
        "batch:batch_open: finalizing, but 1 chunks are open",
    ),
    "a job is not its chunk's": (lambda c: c.srem(jobs_of(c), "job_1"), "job_1 is missing"),
    "its file may go": (lambda c: c.delete("file:file_1:jobs"), "jobs: batch_open is missing"),
    "an ended batch keeps a file": (
        lambda c: c.sadd("file:file_1:jobs", "batch_failed"),
        "file:file_1:jobs: batch_failed is there without reason",
    ),
    "a batch that is gone keeps a file": (
        lambda c: c.sadd("file:file_1:jobs", "batch_x"),
        "file:file_1:jobs: batch_x is there without reason",
    ),
    "a job of a closed chunk": (
        lambda c: c.hdel("batch:batch_open:open", "0"),
        "no chunk is open under this opening",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_behind_its_back_is_found(client: redis.Redis, name: str) -> None:
    change, told = CHANGES[name]
    change(client)
    errors = list(index_errors(client))
    assert any(told in line for line in errors), errors
