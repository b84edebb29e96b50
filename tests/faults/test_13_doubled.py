"""Row 13: the same message five times; a worker that stops past its lease and goes on."""

import base64
import json
import signal
import threading

import pytest

from tests.faults.load import blend, generate, reimagine, translate

TITLE = "the same message ×5; SIGSTOP of a worker past its lease, then SIGCONT"
CHAIN = ("captioner", "translator", "diffuser")
UNACKED = "unacked"  # where the broker keeps what was delivered until it is acknowledged


@pytest.mark.row(13, TITLE)
def test_five_messages_are_one_execution(cluster, row):
    for trial in row.trials(cluster, short=1, full=8):
        send_five_times(cluster, trial)
        trial.healed()
        assert trial.settle().extra == 0


@pytest.mark.row(13, TITLE)
def test_a_worker_that_stops_too_long_is_fenced(cluster, row):
    """It stops at work while its model goes on: what it says afterwards is refused."""
    for trial in row.trials(cluster, short=1, full=5):
        kind = trial.choose(generate, translate)
        job = trial.submit(kind(f"do: sleep {trial.chance.uniform(2.5, 3.5):.1f}"))
        trial.until_running(job)
        before = fenced(cluster)
        with cluster.stopped(cluster.holder(job)):
            trial.until_status(job, "succeeded")
        trial.healed()
        until_fenced(cluster, before)
        trial.settle()
        assert cluster.ledger.get(job).fence == 2


@pytest.mark.row(13, TITLE)
def test_a_late_commit_is_fenced(cluster, row):
    """The worker stops as it sends COMMIT, which arrives when another one has committed."""
    for trial in row.trials(cluster, short=1, full=5):
        job, winner = commit_late(cluster, trial)
        trial.settle()
        record = cluster.ledger.get(job)
        assert record.fence == 2
        assert record.artifacts == winner


def send_five_times(cluster, trial):
    """A chain of which one message comes again while its step runs, when the next one may have
    begun, and when all has ended."""
    step = trial.chance.randrange(len(CHAIN))
    seen = {}
    claim = cluster.script("claim")
    looked = cluster.trap(
        family(cluster, CHAIN[step]), "ledger", claim, lambda _: seen.update(unacked(cluster))
    )
    job = trial.submit(trial.choose(blend, reimagine)(trial.chance.randrange(50), steps=60))
    cluster.until(looked.is_set, what=f"a delivery of step {step}")
    message, queue = seen[job, step]

    def send(copies):
        for _ in range(copies):
            cluster.redis("broker").lpush(queue, message)

    def taken():
        delivered = {job_id for job_id, _ in unacked(cluster)}
        return job not in delivered and not cluster.redis("broker").llen(queue)

    send(2)
    trial.wait(0, 0.5)
    send(2)
    trial.until_status(job, "succeeded")
    send(1)
    cluster.until(taken, what="every copy taken and acknowledged")


def commit_late(cluster, trial):
    """(job id, artifacts) of a job whose first worker's COMMIT is refused."""
    stopped, pass_on = [], threading.Event()

    def stop(name):
        cluster.signal(name, signal.SIGSTOP)
        stopped.append(name)
        pass_on.wait()

    before = fenced(cluster)
    passed = cluster.trap(family(cluster, "diffuser"), "ledger", cluster.script("commit"), stop)
    job = trial.submit(generate(f"prompt {trial.chance.random()}"))
    late = cluster.until(lambda: stopped, what="a worker that commits")[0]
    try:
        trial.until_status(job, "succeeded")
        winner = cluster.ledger.get(job).artifacts
        pass_on.set()
        cluster.until(passed.is_set)
        until_fenced(cluster, before)
    finally:
        pass_on.set()
        cluster.signal(late, signal.SIGCONT)
    trial.healed()
    cluster.until(lambda: outcomes(cluster, late, job), what="what the late worker heard")
    assert outcomes(cluster, late, job) == ["fenced"]
    return job, winner


def until_fenced(cluster, before):
    cluster.until(lambda: fenced(cluster) > before, what="a word that is refused")


def family(cluster, name):
    return [worker for worker in cluster.worker_names if worker.startswith(name)]


def fenced(cluster):
    return cluster.ledger.counters().get("fenced", 0)


def unacked(cluster):
    """Delivered messages by (job id, step): the message itself and its queue."""
    found = {}
    for text in cluster.redis("broker").hvals(UNACKED):
        message, _, queue = json.loads(text)
        (job, step), _, _ = json.loads(base64.b64decode(message["body"]))
        found[job, step] = json.dumps(message), queue
    return found


def outcomes(cluster, name, job_id):
    """How this job's steps ended on a worker, by its log."""
    lines = [json.loads(line) for line in cluster.log(name).splitlines() if job_id in line]
    return [line["outcome"] for line in lines if line["event"] == "step ended"]
