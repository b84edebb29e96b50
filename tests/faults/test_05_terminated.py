"""Row 5: SIGTERM in a short and in a long step, a second SIGTERM, and a rolling restart."""

import signal

import pytest

from tests.faults.conftest import GRACE_S, LEASE_S
from tests.faults.load import generate

TITLE = "SIGTERM in a short and in a long step; a second SIGTERM; a rolling restart"
SLACK_S = 3.0  # of a machine that does other things too


def started(trial, cluster, prompt):
    """A drawing under way: its job, and the worker that holds it; another is up as well."""
    for name in ("diffuser-1", "diffuser-2"):
        cluster.until(lambda name=name: cluster.record(name), what=f"{name} is up")
    job = trial.submit(generate(prompt, steps=trial.chance.randrange(5, 15)))
    trial.until_running(job)
    name = cluster.until(lambda: cluster.holder(job), what="a worker that holds it")
    return job, name, cluster.pid(name)


def taken_over(cluster, job):
    """Wait for a second claim; long before the lease or the first worker's grace would end."""
    cluster.until(lambda: cluster.ledger.get(job).fence == 2, SLACK_S, "taken over")


@pytest.mark.row(5, TITLE)
def test_a_short_step_ends_first(cluster, row):
    for trial in row.trials(cluster, short=1, full=4):
        job, name, pid = started(trial, cluster, f"do: sleep {trial.chance.uniform(1, 4):.1f}")
        cluster.signal(name, signal.SIGTERM)
        trial.healed()
        assert cluster.await_end(name, pid, GRACE_S + SLACK_S)
        findings = trial.settle()
        assert cluster.ledger.get(job).fence == 1
        assert findings.extra == 0


@pytest.mark.row(5, TITLE)
def test_a_long_step_goes_to_another_worker_at_once(cluster, row):
    for trial in row.trials(cluster, short=1, full=4):
        job, name, pid = started(trial, cluster, "do: sleep 10")
        trial.wait(0, 1)
        cluster.signal(name, signal.SIGTERM)
        trial.healed()
        taken_over(cluster, job)
        assert cluster.await_end(name, pid, GRACE_S + SLACK_S)
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
        assert cluster.await_end(name, pid, SLACK_S)
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
                    cluster.await_end(name, pid, GRACE_S + SLACK_S)
                    cluster.until(lambda name=name: cluster.record(name), 60, f"{name} is back")
            trial.healed()
        trial.settle()
        waits = [
            (step.started_at - step.queued_at) / 1000
            for job in map(cluster.ledger.get, trial.accepted)
            for step in job.steps
            if step.step.family != "captioner"
        ]
        # A step left to a lost lease, or to a queue that nobody serves, would have waited longer.
        assert max(waits) < LEASE_S
