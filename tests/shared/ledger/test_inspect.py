"""index_errors: whatever is changed behind the ledger's back is found, and nothing else."""

from collections.abc import Callable

import pytest
import redis

from shared.errors import ModelProcessDied
from shared.ledger import inspect
from shared.ledger.inspect import index_errors
from shared.settings import Settings
from tests.shared.ledger.world import ClockedLedger, World, new_file, new_job, output

CAPTIONER = "1-interactive.captioner.tiny"


@pytest.fixture
def client(ledger_client: redis.Redis, settings: Settings) -> redis.Redis:
    """A ledger with a job in every phase, named for it, a deleted file in use and one that is
    not deleted."""
    world = World(ClockedLedger(ledger_client, settings))
    for file_id in ("file_used", "file_kept"):
        world.ledger.put_file(new_file(file_id))
    world.finish("captioner", id="job_ended")
    leased, _ = world.lease("captioner", id="job_leased")
    retried, fence = world.lease("captioner", id="job_delayed")
    world.ledger.fail(retried, 0, fence, ModelProcessDied("died"))
    chained, fence = world.lease("captioner", "diffuser", id="job_published", files=("file_used",))
    world.ledger.commit(chained, 0, fence, output())
    world.ledger.submit(new_job("captioner", id="job_waiting"), ("key", "digest"))
    world.ledger.delete_file("t", "file_used")
    world.ledger.saved(world.job(leased))
    assert list(index_errors(ledger_client)) == []
    return ledger_client


CHANGES: dict[str, tuple[Callable[[redis.Redis], object], str]] = {
    "a job's hash is lost": (lambda c: c.delete("job:job_leased"), "due: job_leased "),
    "no due": (lambda c: c.zrem("due", "job_delayed"), "due: job_delayed is missing"),
    "a due too many": (lambda c: c.zadd("due", {"job_ended": 1}), "due: job_ended is there"),
    "not waiting": (lambda c: c.zrem(f"waiting:{CAPTIONER}", "job_waiting"), "waiting:1-int"),
    "waiting elsewhere": (lambda c: c.zadd("waiting:2-x", {"job_waiting": 1}), "waiting:2-x"),
    "another place in line": (
        lambda c: c.zadd("published:1-interactive.diffuser.tiny", {"job_published": 99}),
        "job_published has the score 99, not",
    ),
    "not listed": (lambda c: c.zrem("jobs:t", "job_ended"), "jobs:t: job_ended is missing"),
    "listed elsewhere": (lambda c: c.zadd("jobs:t:failed", {"job_ended": 1}), "jobs:t:failed"),
    "an unknown job is unsaved": (lambda c: c.zadd("unsaved", {"job_x": 1}), "unsaved: job_x"),
    "a job that does not expire": (lambda c: c.zrem("expires", "job:job_ended"), "expires: job:"),
    "one that expires early": (lambda c: c.zadd("expires", {"job:job_ended": 5}), "score 5, not"),
    "one that expires at work": (
        lambda c: c.zadd("expires", {"job:job_leased": 5}),
        "expires: job:job_leased is there",
    ),
    "a file that does not expire": (lambda c: c.zrem("expires", "file:file_kept"), "expires: file"),
    "one that does when deleted": (
        lambda c: c.zadd("expires", {"file:file_used": 5}),
        "expires: file:file_used has the score 5",
    ),
    "an unknown file expires": (lambda c: c.zadd("expires", {"file:x": 5}), "expires: file:x is"),
    "a file that is not held": (lambda c: c.delete("file:file_used:jobs"), "file:file_used"),
    "one that is held for ever": (
        lambda c: c.sadd("file:file_kept:jobs", "job_ended"),
        "file:file_kept:jobs: job_ended is there",
    ),
    "a key without its job": (
        lambda c: c.hset("idempotency:t:other", "job", "job_waiting"),
        "idempotency:t:other: job_waiting is there",
    ),
    "a phase against its status": (
        lambda c: c.hset("job:job_ended", "phase", "delayed"),
        "job:job_ended: phase delayed, but status succeeded",
    ),
    "a lease without an end": (
        lambda c: c.hdel("job:job_leased", "lease_until"),
        "job:job_leased: phase leased, lease until None",
    ),
}


@pytest.mark.parametrize("page", [1, 500])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_behind_its_back_is_found(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, name: str, page: int
) -> None:
    monkeypatch.setattr(inspect, "PAGE", page)
    assert list(index_errors(client)) == []
    change, told = CHANGES[name]
    change(client)
    errors = list(index_errors(client))
    assert errors
    assert any(told in line for line in errors), errors
