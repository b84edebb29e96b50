"""Row 5: SIGTERM in a short and in a long step, a second SIGTERM, and a rolling restart."""

import signal
import time

import pytest

from tests.faults.conftest import GRACE_S, LEASE_S
from tests.faults.load import generate

TITLE = "SIGTERM in a short and in a long step; a second SIGTERM; a rolling restart"


def started(trial, cluster, prompt):
    """A drawing under way: its job, and the worker that holds it; another is up as well."""
    for name in ("diffuser-1", "diffuser-2"):
        cluster.until(lambda name=name: cluster.record(name), what=f"{name} is up")
    job = trial.submit(generate(prompt, steps=trial.chance.randrange(5, 15)))
    trial.until_running(job)
    name = cluster.until(lambda: cluster.holder(job), what="a worker that holds it")
    return job, name, cluster.pid(name)


def taken_over(cluster, job):
    """Wait for a second claim."""
    cluster.until(lambda: cluster.ledger.get(job).fence == 2, what="taken over")


@pytest.mark.row(5, TITLE)
def test_a_short_step_ends_first(cluster, row):
    for trial in row.trials(cluster, short=1, full=4):
        job, name, pid = started(trial, cluster, f"do: sleep {trial.chance.uniform(1, 4):.1f}")
        cluster.signal(name, signal.SIGTERM)
        trial.healed()
        cluster.await_end(name, pid)
        findings = trial.settle()
        assert cluster.ledger.get(job).fence == 1
        assert findings.extra == 0


@pytest.mark.row(5, TITLE)
def test_a_long_step_goes_to_another_worker_at_once(cluster, row):
    for trial in row.trials(cluster, short=1, full=4):
        job, name, pid = started(trial, cluster, "do: sleep 10")
        trial.wait(0, 1)
        began = time.monotonic()
        cluster.signal(name, signal.SIGTERM)
        trial.healed()
        taken_over(cluster, job)
        assert time.monotonic() - began < GRACE_S  # after which any step would be released
        cluster.await_end(name, pid)
        trial.settle()
        record = cluster.ledger.get(job)
        assert (record.fence, record.steps[0].attempts) == (2, 1)


@pytest.mark.row(5, TITLE)
def test_a_second_signal_releases_a_short_step_as_well(cluster, row):
    for trial in row.trials(cluster, short=1, full=4):
        job, name, pid = started(trial, cluster, "do: sleep 5")
        cluster.signal(name, signal.SIGTERM)
        trial.wait(0.1, 1)
        assert cluster.ledger.get(job).fence == 1
        cluster.signal(name, signal.SIGTERM)
        trial.healed()
        cluster.await_end(name, pid)
        taken_over(cluster, job)
        trial.settle()
        assert cluster.ledger.get(job).steps[0].attempts == 1


@pytest.mark.row(5, TITLE)
def test_a_rolling_restart_pauses_no_queue(cluster, row):
    """Every translator and diffuser is restarted, one after the other, under load."""
    for trial in row.trials(cluster, short=1, full=3):
        with trial.load(rate=10):
            for family in ("translator", "diffuser"):
                for name in (f"{family}-1", f"{family}-2"):
                    pid = cluster.pid(name)
                    cluster.signal(name, signal.SIGTERM)
                    cluster.await_end(name, pid)
                    cluster.until(lambda name=name: cluster.record(name), what=f"{name} is back")
            trial.healed()
        trial.settle()
        waits = [
            (step.started_at - step.queued_at) / 1000
            for job in map(cluster.ledger.get, trial.accepted)
            for step in job.steps
            if step.step.family != "captioner"
        ]
        # A step left to a lost lease, or to a queue that nobody serves, would have waited longer;
        # on a machine that does other things as well, others do.
        assert max(waits) < LEASE_S or not row.full
