"""The reaper with a real broker: what it sets going again, and what it leaves alone."""

import json
import threading
import time

import pytest
import redis
from celery import Celery

from deploy.ports import free_ports
from shared.contracts import JobRecord, JobStatus
from shared.errors import NotFound, StorageUnavailable
from shared.ledger.ledger import PUBLISH_GRACE_MS
from shared.manifest import manifest_key, settle
from shared.queues import broker_app
from shared.reaper import SETTLE_AFTER_S, Reaper
from shared.settings import Settings
from shared.testing.object_store import MemoryObjectStore
from tests.shared.ledger.test_workers import worker
from tests.shared.ledger.world import ClockedMemoryLedger, World, new_file, output

CAPTIONER = "1-interactive.captioner.tiny"
DIFFUSER = "1-interactive.diffuser.tiny"


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def app(settings: Settings, broker: redis.Redis) -> Celery:
    return broker_app(settings)


@pytest.fixture
def reaper(app: Celery, world: World, store: MemoryObjectStore, settings: Settings) -> Reaper:
    return Reaper(app, world.ledger, store, settings)


def test_it_admits_what_waits(reaper: Reaper, world: World, broker: redis.Redis) -> None:
    for _ in range(5):
        world.submit("captioner")
    reaper.sweep()
    assert broker.llen(CAPTIONER) == 3
    reaper.sweep()
    assert broker.llen(CAPTIONER) == 3


def test_what_the_broker_lost_is_published_again(
    reaper: Reaper, world: World, broker: redis.Redis
) -> None:
    ids = {world.submit("captioner") for _ in range(3)}
    reaper.sweep()
    broker.flushdb()
    world.advance(PUBLISH_GRACE_MS - 1)
    reaper.sweep()
    assert broker.llen(CAPTIONER) == 0
    world.advance(1)
    reaper.sweep()
    assert broker.llen(CAPTIONER) == 3
    assert {world.claim(job_id).state for job_id in ids} == {"ok"}


def test_a_backlog_is_not_published_again(
    reaper: Reaper, world: World, broker: redis.Redis
) -> None:
    for _ in range(5):
        world.submit("captioner")
    reaper.sweep()
    for _ in range(10):
        world.advance(PUBLISH_GRACE_MS)
        reaper.sweep()
    assert broker.llen(CAPTIONER) == 3
    assert world.ledger.counters().get("republished") is None


def test_the_rest_of_a_chain_goes_on_after_its_worker_was_lost(
    reaper: Reaper, world: World, broker: redis.Redis
) -> None:
    job_id, fence = world.lease("captioner", "diffuser")
    world.ledger.commit(job_id, 0, fence, output())  # and dies before the next link
    world.advance(PUBLISH_GRACE_MS)
    reaper.sweep()
    assert broker.llen(DIFFUSER) == 1
    world.claim(job_id, 1)  # and dies again
    broker.flushdb()
    world.advance(60_000)
    reaper.sweep()
    assert (broker.llen(CAPTIONER), broker.llen(DIFFUSER)) == (0, 1)


def test_without_a_broker_leases_and_deadlines_are_still_dealt_with(
    world: World, store: MemoryObjectStore, settings: Settings, broker: redis.Redis
) -> None:
    away = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{free_ports()}"})
    reaper = Reaper(broker_app(away), world.ledger, store, away)
    lost, _ = world.lease("captioner")
    expired = world.submit("captioner", deadline_s=5)
    world.advance(60_000)
    reaper.sweep()
    assert world.job(expired).status is JobStatus.EXPIRED
    assert world.ledger.queues() == {CAPTIONER: 1}
    # It was let in while there was no broker, and is published when there is one again.
    world.advance(PUBLISH_GRACE_MS)
    Reaper(broker_app(settings), world.ledger, store, settings).sweep()
    assert broker.llen(CAPTIONER) == 1
    assert world.claim(lost).attempt == 2


# Queues that nobody serves


def test_jobs_for_a_model_that_nobody_serves_fail_after_a_while(
    app: Celery, world: World, store: MemoryObjectStore, settings: Settings
) -> None:
    reaper = Reaper(app, world.ledger, store, settings.model_copy(update={"model_wait_s": 1e-9}))
    unserved = [world.submit("diffuser") for _ in range(4)]
    served = world.submit("captioner")
    world.ledger.heartbeat(worker("a"))
    reaper.sweep()  # the wait begins
    assert world.job(unserved[0]).status is JobStatus.QUEUED
    reaper.sweep()
    for job_id in unserved:
        error = world.job(job_id).error
        assert error is not None
        assert (error.code, DIFFUSER in error.message) == ("model_not_available", True)
    assert world.job(served).status is JobStatus.QUEUED


def test_a_queue_may_wait_for_its_worker(reaper: Reaper, world: World) -> None:
    job_id = world.submit("diffuser")
    for _ in range(3):
        reaper.sweep()
    assert world.job(job_id).status is JobStatus.QUEUED


# Manifests and garbage


def test_an_ended_job_gets_its_manifest_when_its_worker_left_none(
    reaper: Reaper, world: World, store: MemoryObjectStore
) -> None:
    job_id = world.finish("captioner")
    reaper.sweep()
    assert store.objects == {}  # the worker may be about to
    world.advance(int(SETTLE_AFTER_S * 1000))
    reaper.sweep()
    record = JobRecord.model_validate_json(store.get(manifest_key(job_id)))
    assert record == world.job(job_id)
    assert world.ledger.ended(0) == []


def test_settling_twice_writes_the_same_bytes(world: World, store: MemoryObjectStore) -> None:
    job_id = world.finish("captioner")
    settle(world.ledger, store, job_id)
    first = store.get(manifest_key(job_id))
    settle(world.ledger, store, job_id)
    assert store.get(manifest_key(job_id)) == first
    assert json.loads(first)["status"] == "succeeded"


def test_while_storage_is_away_the_manifest_waits(
    reaper: Reaper, world: World, store: MemoryObjectStore, broker: redis.Redis
) -> None:
    job_id = world.finish("captioner")
    world.submit("captioner")
    world.advance(int(SETTLE_AFTER_S * 1000))
    store.down = True
    with pytest.raises(StorageUnavailable):
        reaper.sweep()
    assert broker.llen(CAPTIONER) == 1  # queues come before storage
    assert world.ledger.ended(0) == [job_id]
    store.down = False
    reaper.sweep()
    assert world.ledger.ended(0) == []


def test_deleted_jobs_and_files_are_erased(
    reaper: Reaper, world: World, store: MemoryObjectStore
) -> None:
    file = world.ledger.put_file(new_file())
    job_id, kept = world.finish("captioner", files=(file.id,)), world.finish("captioner")
    for key in (file.key, f"jobs/{job_id}/caption/a1.txt", f"jobs/{kept}/caption/a1.txt"):
        store.put(key, b"x", "text/plain")
    for name in (job_id, kept):
        settle(world.ledger, store, name)
    world.ledger.delete(job_id)
    world.ledger.delete_file("t", file.id)
    store.down = True
    with pytest.raises(StorageUnavailable):
        reaper.sweep()
    store.down = False
    reaper.sweep()
    assert {key for _, key in store.objects} == {
        f"jobs/{kept}/caption/a1.txt",
        manifest_key(kept),
    }
    assert world.ledger.garbage() == []
    with pytest.raises(NotFound):
        world.ledger.get(job_id)


# Its loop


def test_it_goes_on_after_a_dependency_was_away(
    app: Celery,
    broker: redis.Redis,
    store: MemoryObjectStore,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.reaper.SWEEP_S", 0.02)
    ledger = ClockedMemoryLedger(settings)
    World(ledger).submit("captioner")
    ledger.down = True
    stop = threading.Event()
    thread = threading.Thread(target=Reaper(app, ledger, store, settings).run, args=(stop,))
    thread.start()
    try:
        time.sleep(0.1)
        assert thread.is_alive()
        ledger.down = False
        limit = time.monotonic() + 5
        while not broker.llen(CAPTIONER):
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
