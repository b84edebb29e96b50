"""Heartbeats."""

from typing import Any

from shared.contracts import WorkerRecord
from shared.ledger.ledger import WORKER_TTL_MS
from tests.shared.ledger.world import World


def worker(name: str, **fields: Any) -> WorkerRecord:
    defaults: dict[str, Any] = {
        "name": name,
        "host": "h",
        "pid": 7,
        "family": "captioner",
        "device": "cpu",
        "models": {"tiny": "r1"},
        "queues": ("1-interactive.captioner.tiny", "2-bulk.captioner.tiny"),
        "slots": 4,
        "busy": 0,
        "started_at": 1,
    }
    return WorkerRecord(**{**defaults, **fields})


def test_live_workers_are_listed_by_name_as_they_last_spoke(world: World) -> None:
    assert world.ledger.workers() == []
    for record in (worker("b"), worker("a"), worker("b", busy=2, model_pid=9)):
        world.ledger.heartbeat(record)
    assert world.ledger.workers() == [worker("a"), worker("b", busy=2, model_pid=9)]


def test_a_silent_worker_is_gone_and_one_that_leaves_at_once(world: World) -> None:
    world.ledger.heartbeat(worker("a"))
    world.ledger.heartbeat(worker("b"))
    world.ledger.goodbye("b")
    world.ledger.goodbye("never-there")
    world.advance(WORKER_TTL_MS - 1_000)
    assert world.ledger.workers() == [worker("a")]
    world.ledger.heartbeat(worker("a", busy=1))
    world.advance(WORKER_TTL_MS - 1_000)
    assert world.ledger.workers() == [worker("a", busy=1)]
    world.advance(1_001)
    assert world.ledger.workers() == []
    assert world.ledger.workers() == []
