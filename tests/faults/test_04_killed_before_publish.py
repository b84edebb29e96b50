"""Row 4: kill -9 between a step's commit and the publishing of the next one."""

import pytest

from tests.faults.load import blend, reimagine

NEXT = {"captioner": "translator", "translator": "diffuser"}


def committed(cluster, family):
    """A worker's death when COMMIT has been answered and it has not heard so."""
    return trap(cluster, family, "ledger", cluster.script("commit"), cluster.kill, after=True)


def publishing(cluster, family):
    """A worker's death when it has sent the next link and the broker has not got it."""
    return trap(cluster, family, "broker", cluster.message(NEXT[family]), cluster.kill_unheard)


def published(cluster, family):
    """A worker's death when the broker has the next link, and still waits for the ack of the
    one before."""
    message = cluster.message(NEXT[family])
    return trap(cluster, family, "broker", message, cluster.kill, after=True)


def trap(cluster, family, *how, **moment):
    names = [name for name in cluster.worker_names if name.startswith(family)]
    return cluster.trap(names, *how, **moment)


@pytest.mark.row(4, "kill -9 between commit and the next link's publish")
def test_the_chain_goes_on_at_the_right_step(cluster, row):
    for trial in row.trials(cluster, short=1, full=4):
        moments = [committed, publishing, trial.choose(committed, publishing, published)]
        trial.chance.shuffle(moments)
        jobs = []
        for moment in moments:
            killed = moment(cluster, trial.choose(*NEXT))
            jobs.append(trial.submit(trial.choose(blend, reimagine)(trial.chance.randrange(50))))
            cluster.until(killed.is_set, what=f"a worker's death: {moment.__name__}")
        trial.healed()
        trial.settle()
        for job in map(cluster.ledger.get, jobs):
            # Three steps, three executions: what was committed was not done again.
            assert job.fence == 3
            assert [step.attempts for step in job.steps] == [1, 1, 1]
