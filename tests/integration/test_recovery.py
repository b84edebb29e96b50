"""Processes are killed in mid-step; jobs still finish, once."""

import os
import signal

import pytest
from imagemill import Client

from tests.waiting import PATIENCE_S, until

# Long enough to be caught in the act, short enough to be waited for.
SLOW = {"kind": "generate", "prompt": "a large red circle on a white background", "steps": 120}


@pytest.fixture
def client(stack):
    with Client(stack.api_url) as client:
        yield client


def diffusers(client):
    return served(client, "diffuser")


def served(client, family):
    """The live workers of a family, as /v1/workers shows them."""
    return [w.raw for w in client.workers() if w.raw["family"] == family]


def drawing(client, job_id):
    """The job, once it reports progress of its diffusion."""

    def running():
        job = client.jobs.get(job_id).raw
        return job if job["progress"]["value"] > 0.02 else None

    return until(running, what="progress")


def test_a_killed_model_process_costs_one_batch(client, stack):
    job = client.jobs.create(**SLOW)
    drawing(client, job.id)
    (worker,) = diffusers(client)
    os.kill(worker["model_pid"], signal.SIGKILL)
    done = client.wait(job.id, timeout=PATIENCE_S).raw
    assert done["status"] == "succeeded"
    assert done["steps"][0]["attempts"] == 1
    respawned = until(
        lambda: [w for w in diffusers(client) if w["model_pid"] not in (None, worker["model_pid"])],
        what="a new model process",
    )
    assert respawned[0]["name"] == worker["name"]


def test_a_killed_worker_is_started_again_and_its_step_taken_over(client, stack):
    job = client.jobs.create(**SLOW)
    drawing(client, job.id)
    (worker,) = diffusers(client)
    os.kill(worker["pid"], signal.SIGKILL)
    done = client.wait(job.id, timeout=PATIENCE_S).raw
    assert done["status"] == "succeeded"
    assert done["steps"][0]["attempts"] == 2
    assert len(done["outputs"]["images"]) == 1


def test_cancel_stops_a_running_job(client):
    job = client.jobs.create(**{**SLOW, "steps": 1000})
    drawing(client, job.id)
    client.jobs.cancel(job.id)
    done = until(
        lambda: (j := client.jobs.get(job.id).raw)["status"] == "canceled" and j, what="cancel"
    )
    assert done["progress"]["value"] < 0.9
    assert done["outputs"]["images"] == []
    assert done["steps"][0]["status"] == "canceled"
    # The worker is free again at once.
    after = client.jobs.create(kind="generate", prompt="a small blue square", steps=2)
    assert client.wait(after.id, timeout=PATIENCE_S).status == "succeeded"


def both(client, stack, second):
    """The names of the stack's own diffuser and of the one that joined, once both are up."""
    pids = {stack.pids["worker-diffuser"], second.pid}

    def up():
        found = {w["pid"]: w["name"] for w in diffusers(client) if w["pid"] in pids}
        return len(found) == 2 and found

    names = until(up, "a second diffuser")
    return names[stack.pids["worker-diffuser"]], names[second.pid]


def busy(client):
    return {w["name"] for w in diffusers(client) if w["busy"]}


def test_a_terminated_worker_releases_its_step_to_another(client, stack):
    with stack.worker("diffuser") as second:
        names = both(client, stack, second)
        jobs = [client.jobs.create(**{**SLOW, "seed": i}) for i in range(2)]
        until(lambda: busy(client) >= {*names}, what="both are busy")
        second.terminate()
        second.terminate()  # again: release at once, finish nothing
        assert second.wait(PATIENCE_S) == 0
        assert names[1] not in {w["name"] for w in diffusers(client)}
        for job in jobs:
            done = client.wait(job.id, timeout=PATIENCE_S).raw
            assert done["steps"][0]["attempts"] == 1


def test_a_second_worker_joins_from_stack_env_and_both_take_work(client, stack):
    with stack.worker("diffuser") as second:
        names = both(client, stack, second)
        seen = set()
        jobs = [client.jobs.create(**{**SLOW, "seed": i}) for i in range(4)]

        def finished():
            seen.update(busy(client))
            return all(client.jobs.get(job.id).done for job in jobs)

        until(finished, "all jobs")
        assert seen >= {*names}
        assert {str(client.jobs.get(job.id).status) for job in jobs} == {"succeeded"}
