"""Verify: silent about a healthy batch, and whatever S3 lacks of one is told."""

import re
from collections.abc import Callable

import pytest

from shared.closings import closings
from shared.layout import batch_manifest_key, chunk_key, results_key
from shared.ledger import verify
from tests.shared.ledger.system import System

OLD_MS = 61_000


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAUSE_S", 0.01)


@pytest.fixture
def healthy(system: System) -> System:
    """A batch with chunks in every state, long at work."""
    system.batch([], ["poison"], id="batch_1")
    fields = dict.fromkeys(("created_at", "in_progress_at"), 1)
    system.client.hset("batch:batch_1", mapping=fields)
    return system


def lose_source_lines(system: System) -> str:
    system.store.delete([chunk_key("batch_1", 3)])
    return "batch_1: batches/batch_1/chunks/00000003.jsonl is not in S3"


def lose_results(system: System) -> str:
    opening = closings(system.store, "batch_1")[1]
    system.store.delete([results_key("batch_1", 1, opening)])
    return "batch_1: the results of chunk 1 are not in S3"


def lose_job(system: System) -> str:
    (chunk,) = system.ledger.batch("batch_1").open.values()
    assert chunk.jobs
    system.client.delete(f"job:{chunk.jobs[0]}")
    return f"batch_1: {chunk.jobs[0]} of its open chunk 2 is gone"


def lose_manifest(system: System) -> str:
    system.store.delete([batch_manifest_key("batch_1")])
    return "batch_1: its manifest is not in S3"


def damage_manifest(system: System) -> str:
    system.store.put(batch_manifest_key("batch_1"), b"{", "application/json")
    return "batch_1: its manifest cannot be read"


def forget_to_save(system: System) -> str:
    system.ledger.cancel_batch("batch_1")
    system.client.hset("batch:batch_1", "cancelling_at", 1)
    return "batch_1: cancelling, but in_progress in its manifest"


def damage_record(system: System) -> str:
    system.client.hset("batch:batch_1", "request", "{")
    return "batch_1: its record cannot be read"


def test_a_healthy_batch_is_silent(healthy: System) -> None:
    assert list(healthy.inconsistencies()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lose_source_lines,
        lose_results,
        lose_job,
        lose_manifest,
        damage_manifest,
        forget_to_save,
        damage_record,
    ],
)
def test_what_is_wrong_is_told(healthy: System, damage: Callable[[System], str]) -> None:
    told = damage(healthy)
    assert told in list(healthy.inconsistencies())


def test_a_manifest_may_be_behind_for_a_while(system: System) -> None:
    batch_id = system.batch()
    system.ledger.cancel_batch(batch_id)
    assert list(system.inconsistencies()) == []


def test_the_command_counts_batches(healthy: System) -> None:
    said = healthy.command("verify").stdout
    assert re.search(r"^1 jobs, 0 files, 1 batches, 8 objects: no inconsistencies$", said, re.M)
