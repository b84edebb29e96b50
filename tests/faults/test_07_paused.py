"""Row 7: a server that hangs, and a worker whose connections are half-open."""

import time
from functools import partial

import pytest

from tests.faults.conftest import LEASE_S
from tests.faults.load import generate
from tests.faults.measure import Measure
from tests.faults.proxy import FaultProxy, harm
from tests.waiting import PATIENCE_S

TITLE = "Redis paused 30 s; half-open TCP"
PAUSE_S, SHORT_PAUSE_S = 30.0, 1.5 * LEASE_S
RECOVERY_S = 60.0
WINDOW_S = 3.0
SHARE = 0.7  # of the rate before the fault; the rest is the noise of a short window


def succeeded(trial):
    return trial.cluster.ledger.counters().get("succeeded", 0)


def rate(trial):
    """Jobs that succeed per second."""
    began, before = time.monotonic(), succeeded(trial)
    trial.cluster.sleep(WINDOW_S)
    return (succeeded(trial) - before) / (time.monotonic() - began)


@pytest.mark.row(7, TITLE)
def test_throughput_is_back_after_a_pause(cluster, row, measures):
    servers, limit_s = ["ledger", "broker"], RECOVERY_S if row.full else PATIENCE_S
    for number, trial in enumerate(row.trials(cluster, short=1, full=2)):
        server = servers[number % 2] if row.full else trial.choose(*servers)
        with trial.load():
            trial.wait(0.5, 1.5)
            before = rate(trial)
            assert before > 0
            with cluster.stopped(server):
                cluster.sleep(PAUSE_S if row.full else SHORT_PAUSE_S)
            trial.healed()
            began = time.monotonic()
            while (after := rate(trial)) < SHARE * before:
                assert time.monotonic() - began < limit_s, f"{before:.1f}/s, now {after:.1f}/s"
            took = time.monotonic() - began
        found = f"{before:.1f} before, {after:.1f} after {took:.0f} s"
        measures.append(Measure(f"jobs/s, {server} paused", found, f"back in {RECOVERY_S:g} s"))
        trial.until_all_work()
        trial.settle()
        trial.refusals()


@pytest.mark.row(7, TITLE)
def test_a_stale_holder_is_fenced(cluster, row):
    """A worker's links go silent: another one takes its step, and its own result is refused."""
    for trial in row.trials(cluster, short=1, full=6):
        # Some are done before the lease ends, and hang in their COMMIT.
        job = trial.submit(generate(f"do: sleep {trial.chance.uniform(1, 1.5 * LEASE_S):.1f}"))
        trial.until_running(job)
        links = cluster.links[cluster.until(partial(cluster.holder, job))]
        fenced = cluster.ledger.counters().get("fenced", 0)
        harmed = [links.ledger] if trial.choose(True, False) else list(links)
        with harm(harmed, FaultProxy.pause):
            taken = partial(lambda job: cluster.ledger.get(job).fence == 2, job)
            cluster.until(taken, what="taken over")
        trial.healed()
        trial.until_all_work()
        trial.settle()
        assert cluster.ledger.counters()["fenced"] > fenced
        assert "/a2/" in cluster.ledger.get(job).artifacts[0].key


@pytest.mark.row(7, TITLE)
def test_a_worker_without_its_broker_ends_what_it_holds(cluster, row):
    """Nothing is fenced, and it consumes again when its connections are back."""
    for trial in row.trials(cluster, short=1, full=2):
        job = trial.submit(generate("do: sleep 3"))
        trial.until_running(job)
        links = cluster.links[cluster.until(partial(cluster.holder, job))]
        with trial.load():
            with harm([links.broker], FaultProxy.pause):
                cluster.sleep(PAUSE_S if row.full else 4)
            trial.healed()
        trial.until_all_work()
        trial.settle()
        assert cluster.ledger.get(job).fence == 1
