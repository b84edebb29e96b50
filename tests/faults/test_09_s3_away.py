"""Row 9: S3 is away, hangs, says SlowDown, or is killed."""

import pytest

from tests.faults.harm import SLOW_DOWN
from tests.faults.load import generate, upload
from tests.faults.proxy import FaultProxy, harm

TITLE = "S3 away for minutes; 503 SlowDown"


def away(cluster):
    return harm(cluster.everyones("s3"), FaultProxy.refuse)


def slow(cluster):
    return harm(cluster.everyones("s3"), lambda link: link.answer(SLOW_DOWN))


def hung(cluster):
    return cluster.stopped("s3")


@pytest.mark.row(9, TITLE)
def test_jobs_wait_and_lose_no_attempt(cluster, row):
    """One outage after the other, without a pause for breath."""
    for trial in row.trials(cluster, short=1, full=2):
        with trial.load():
            trial.wait(0.5, 2)
            for outage in trial.chance.sample([away, slow, hung], 3):
                with outage(cluster):
                    # These need no S3 to be accepted, and it to end.
                    for number in range(5):
                        trial.submit(generate(f"in an outage {number}"))
                    refused = upload(cluster.api_url, trial.chance.random())
                    assert refused.status_code == 503
                    assert refused.headers["content-type"] == "application/problem+json"
                    assert int(refused.headers["retry-after"]) > 0
                    trial.wait(*((15, 30) if row.full else (0.5, 1.5)))
            trial.healed()
        trial.until_all_work()
        # What was computed in an outage is not computed again.
        assert trial.settle().extra == 0
        assert trial.refusals()
        assert attempts(trial) == {1}


@pytest.mark.row(9, TITLE)
def test_a_killed_server_comes_back(cluster, row):
    for trial in row.trials(cluster, short=1, full=5):
        with trial.load():
            trial.wait(0.5, 2)
            pid = cluster.pid("s3")
            cluster.kill("s3")
            trial.healed()
            cluster.await_end("s3", pid)
            trial.wait(0.5, 3)
        trial.until_all_work()
        trial.settle()
        trial.refusals()
        assert attempts(trial) == {1}


def attempts(trial):
    """How many attempts the steps of accepted jobs took."""
    jobs = map(trial.cluster.ledger.get, trial.accepted)
    return {step.attempts for job in jobs for step in job.steps}
