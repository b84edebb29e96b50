"""The reaper with a real broker: what it sets going again, and what it leaves alone."""

import base64
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from celery import Celery

from deploy.ports import free_ports
from shared.contracts import JobStatus, new_id
from shared.ledger import Ledger
from shared.ledger.server import PUBLISH_GRACE_MS
from shared.queues import admit, broker_app
from shared.reaper import Reaper
from shared.settings import Settings
from tests.shared.ledger.test_workers import worker
from tests.shared.ledger.world import World, new_job, output
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
CAPTIONER = "1-interactive.captioner.tiny"
DIFFUSER = "1-interactive.diffuser.tiny"


@pytest.fixture
def app(settings: Settings, broker: redis.Redis) -> Celery:
    return broker_app(settings)


@pytest.fixture
def reaper(app: Celery, world: World, settings: Settings) -> Reaper:
    return Reaper(app, world.ledger, settings)


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
    world: World, settings: Settings, broker: redis.Redis
) -> None:
    away = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{free_ports()}"})
    reaper = Reaper(broker_app(away), world.ledger, away)
    lost, _ = world.lease("captioner")
    expired = world.submit("captioner", deadline_s=5)
    world.advance(60_000)
    reaper.sweep()
    assert world.job(expired).status is JobStatus.EXPIRED
    assert world.ledger.queues() == {CAPTIONER: 1}
    # It was let in while there was no broker, and is published when there is one again.
    world.advance(PUBLISH_GRACE_MS)
    Reaper(broker_app(settings), world.ledger, settings).sweep()
    assert broker.llen(CAPTIONER) == 1
    assert world.claim(lost).attempt == 2


# Queues that nobody serves


def test_jobs_for_a_model_that_nobody_serves_fail_after_a_while(
    app: Celery, world: World, settings: Settings
) -> None:
    reaper = Reaper(app, world.ledger, settings.model_copy(update={"model_wait_s": 1e-9}))
    unserved = [world.submit("diffuser") for _ in range(4)]
    served = world.submit("captioner")
    world.ledger.heartbeat(worker("a"))
    reaper.watch()  # the wait begins
    assert world.job(unserved[0]).status is JobStatus.QUEUED
    reaper.watch()
    for job_id in unserved:
        error = world.job(job_id).error
        assert error is not None
        assert (error.code, DIFFUSER in error.message) == ("model_not_available", True)
    assert world.job(served).status is JobStatus.QUEUED


def test_a_queue_may_wait_for_its_worker(reaper: Reaper, world: World) -> None:
    job_id = world.submit("diffuser")
    for _ in range(3):
        reaper.watch()
    assert world.job(job_id).status is JobStatus.QUEUED


def test_a_reaper_that_did_not_look_for_a_while_begins_anew(
    app: Celery, world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may have come and gone while it was stopped."""
    monkeypatch.setattr("shared.reaper.GAP_S", 0.0)
    reaper = Reaper(app, world.ledger, settings.model_copy(update={"model_wait_s": 1e-9}))
    job_id = world.submit("diffuser")
    for _ in range(3):
        reaper.watch()
    assert world.job(job_id).status is JobStatus.QUEUED


def test_a_long_queue_that_nobody_serves_is_failed_without_a_pause(
    app: Celery, world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.reaper.UNSERVED_LIMIT", 2)
    reaper = Reaper(app, world.ledger, settings.model_copy(update={"model_wait_s": 1e-9}))
    ids = [world.submit("diffuser") for _ in range(5)]
    answers = [reaper.watch() for _ in range(4)]
    assert answers == [False, True, True, False]
    assert {world.job(job_id).status for job_id in ids} == {JobStatus.FAILED}


# A long backlog


def test_a_backlog_with_slow_workers_causes_no_storm_of_messages(
    settings: Settings,
    ledger_client: redis.Redis,
    broker: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two workers take eight messages each, claim and admit on as many threads, and are slow.

    A message waits for far longer than the grace, which is cut to a fifth to save time.
    """
    for name in ("ledger", "upkeep"):
        monkeypatch.setattr(f"shared.ledger.{name}.PUBLISH_GRACE_MS", PUBLISH_GRACE_MS // 5)
    slots, step_s, lasts_s = 8, 2.0, 12.0
    settings = settings.model_copy(update={"admit_per_queue": 64})
    ledger, app, stop = Ledger.connect(settings), broker_app(settings), threading.Event()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: ledger.submit(new_job("captioner")), range(10_000)))

    def work(job_id: str, free: threading.Semaphore) -> None:
        claim = ledger.claim(job_id, 0, "worker", new_id("token"))
        if claim.state == "ok":
            admit(app, ledger, [CAPTIONER])
            stop.wait(step_s)
            ledger.commit(job_id, 0, claim.fence, output())
        free.release()

    def consume() -> None:
        free = threading.Semaphore(slots)
        with ThreadPoolExecutor(slots) as pool:
            while not stop.is_set():
                if free.acquire(timeout=0.1):
                    found = broker.brpop([CAPTIONER], timeout=PATIENCE_S)
                    assert found
                    body = json.loads(base64.b64decode(json.loads(found[1])["body"]))
                    pool.submit(work, body[0][0], free)

    threads = [Reaper(app, ledger, settings).start(stop)]
    threads += [threading.Thread(target=consume) for _ in range(2)]
    for thread in threads[1:]:
        thread.start()
    stop.wait(lasts_s)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    counters = ledger.counters()
    assert counters["commits"] > 2 * slots  # they did not stand still
    assert counters["published"] >= 64 + counters["commits"] - 2 * slots
    assert counters.get("republished", 0) <= counters["published"] / 100


# The process


def environment(settings: Settings) -> dict[str, str]:
    names = ("ledger_url", "broker_url", "s3_endpoint", "s3_access_key", "s3_secret_key")
    return {**os.environ, **{f"IMAGEMILL_{n.upper()}": getattr(settings, n) for n in names}}


def process(settings: Settings) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "shared.reaper"],
        cwd=ROOT,
        env=environment(settings),
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("server", ["ledger", "broker"])
def test_it_refuses_a_server_that_could_lose_jobs(
    settings: Settings, ledger_client: redis.Redis, broker: redis.Redis, server: str
) -> None:
    client = ledger_client if server == "ledger" else broker
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        reaper = process(settings)
        _, said = reaper.communicate(timeout=PATIENCE_S)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert (reaper.returncode, len(said.splitlines())) == (1, 1)
    assert said.startswith(f"IMAGEMILL_{server.upper()}_URL: the server has maxmemory-policy")


def test_it_works_once_its_servers_are_there(
    settings: Settings, ledger_client: redis.Redis, broker: redis.Redis
) -> None:
    """Another process does what it does, when it was killed."""
    ledger = Ledger.connect(settings)
    away = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{free_ports()}"})
    waiting, first, second = process(away), process(settings), process(settings)
    try:
        for doomed in (first, second):
            ledger.submit(new_job("captioner"))
            ended = ledger.submit(new_job("captioner")).job_id
            ledger.cancel(ended)
            until(lambda: broker.llen(CAPTIONER) > 0)
            until(lambda ended=ended: ended not in ledger.unsaved(0))
            broker.delete(CAPTIONER)
            doomed.kill()
        assert waiting.poll() is None
        waiting.terminate()
        assert waiting.wait(PATIENCE_S) == 0
    finally:
        for each in (waiting, first, second):
            each.kill()
            each.communicate()
