"""Row 16: kill the API around SUBMIT and publish; the client repeats its request."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from tests.faults.load import KINDS

TITLE = "kill the API before and after SUBMIT and publish; the client repeats its key"


def kill_all(cluster):
    """The API with all of its processes."""
    cluster.kill("api")


def kill_one(cluster):
    """The process that handles the requests, and not the one that starts it."""
    for child in psutil.Process(cluster.pid("api")).children():
        with suppress(psutil.NoSuchProcess):
            child.kill()


@pytest.mark.row(16, TITLE)
def test_a_repeated_request_is_one_job(cluster, row):
    for trial in row.trials(cluster, short=1, full=4):
        submit = "ledger", cluster.script("submit")
        publish = "broker", b"LPUSH"
        moments = [(*submit, False), (*submit, True), (*publish, True)]
        trial.chance.shuffle(moments)
        # First what takes longest: until the reaper publishes, the others have come and gone.
        moments.insert(0, (*publish, False))
        before = submitted(cluster)
        for moment in moments:
            submit_at(cluster, trial, *moment)
        trial.healed()
        trial.settle()
        assert submitted(cluster) - before == len(trial.accepted) >= len(moments)


@pytest.mark.row(16, TITLE)
def test_random_kills_under_load(cluster, row):
    for trial in row.trials(cluster, short=1, full=5):
        before = submitted(cluster)
        with trial.load(clients=6, rate=30):
            for _ in range(3 if row.full else 2):
                await_another(cluster, trial)
                trial.wait(0, 1)
                trial.choose(kill_all, kill_one)(cluster)
            trial.healed()
        trial.settle()
        assert submitted(cluster) - before == len(trial.accepted)


def submit_at(cluster, trial, server, request, after):
    """Submit a job; the API dies when it sends this request, or when it gets the reply to it."""
    kill = trial.choose(kill_all, kill_one)

    def die(_):
        kill(cluster)
        for link in cluster.links["api"]:
            link.cut()

    dead = cluster.trap(["api"], server, request, die, after)
    refused = trial.client.refused
    with ThreadPoolExecutor(1) as client:
        # A reaper may have published the job before the API could.
        while not dead.is_set():
            document = trial.choose(*KINDS)(trial.chance.randrange(50))
            accepted = client.submit(trial.submit, document)
            cluster.until(accepted.done, what="a 202")
            accepted.result()
    assert trial.client.refused > refused


def await_another(cluster, trial):
    known = len(trial.accepted)
    cluster.until(lambda: len(trial.accepted) > known, what="another 202")


def submitted(cluster):
    return cluster.ledger.counters().get("submitted", 0)
