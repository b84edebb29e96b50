"""CANCEL and deletion, at every phase of a job."""

from collections.abc import Callable

import pytest

from shared.contracts import JobStatus, StepStatus
from shared.errors import ModelProcessDied, NotFound, PredictionFailed
from shared.ledger.records import Claim
from tests.shared.ledger.world import START_MS, World, output

DIED = ModelProcessDied("SIGKILL")


def waiting(world: World) -> str:
    return world.submit()


def published(world: World) -> str:
    return world.publish()


def delayed(world: World) -> str:
    job_id, fence = world.lease()
    world.ledger.fail(job_id, 0, fence, DIED)
    return job_id


def between_two_steps(world: World) -> str:
    job_id, fence = world.lease()
    world.ledger.commit(job_id, 0, fence, output(caption="c"))
    return job_id


def released(world: World) -> str:
    job_id, fence = world.lease()
    world.ledger.release(job_id, 0, fence)
    return job_id


UNHELD = [waiting, published, delayed, between_two_steps, released]


@pytest.mark.parametrize("phase", UNHELD)
def test_a_job_that_no_worker_holds_ends_at_once(
    world: World, phase: Callable[[World], str]
) -> None:
    job_id = phase(world)
    job = world.ledger.cancel(job_id)
    assert (job.status, job.finished_at) == (JobStatus.CANCELED, START_MS)
    assert {s.status for s in job.steps} <= {StepStatus.SUCCEEDED, StepStatus.CANCELED}
    assert world.ledger.cancel(job_id) == job
    assert world.claim(job_id, job.current) == Claim("terminal")
    assert set(world.ledger.queues().values()) == {0}
    assert world.ledger.counters()["canceled"] == 1


def test_the_worker_of_a_running_job_is_asked_to_stop(world: World) -> None:
    job_id, fence = world.lease()
    assert world.ledger.cancel(job_id).status is JobStatus.CANCELING
    assert world.ledger.cancel(job_id).status is JobStatus.CANCELING
    assert world.job(job_id).steps[0].status is StepStatus.RUNNING
    assert world.ledger.renew(job_id, 0, fence) == "cancel"
    assert world.ledger.release(job_id, 0, fence) == "canceled"
    assert world.job(job_id).status is JobStatus.CANCELED


MOVES: list[Callable[[World, str, int], str]] = [
    lambda world, job_id, fence: world.ledger.commit(job_id, 0, fence, output()),
    lambda world, job_id, fence: world.ledger.fail(job_id, 0, fence, DIED),
    lambda world, job_id, fence: world.ledger.fail(job_id, 0, fence, PredictionFailed("x")),
    lambda world, job_id, fence: world.ledger.release(job_id, 0, fence),
]


@pytest.mark.parametrize("families", [("captioner",), ("captioner", "diffuser")])
@pytest.mark.parametrize("move", MOVES)
def test_a_cancel_wins_against_what_the_worker_does_next(
    world: World, move: Callable[[World, str, int], str], families: tuple[str, ...]
) -> None:
    job_id, fence = world.lease(*families)
    world.ledger.cancel(job_id)
    assert move(world, job_id, fence) == "canceled"
    job = world.job(job_id)
    assert (job.status, job.outputs, job.error) == (JobStatus.CANCELED, {}, None)
    assert move(world, job_id, fence) == "fenced"


def test_a_cancel_comes_too_late_for_an_ended_job(world: World) -> None:
    job_id = world.finish("captioner")
    assert world.ledger.cancel(job_id).status is JobStatus.SUCCEEDED
    assert "canceled" not in world.ledger.counters()


def test_the_reaper_ends_a_canceled_job_whose_worker_was_lost(world: World) -> None:
    job_id, fence = world.lease()
    # Past its deadline as well, it still ends as what its owner asked for.
    overdue, _ = world.lease(deadline_s=10)
    world.ledger.cancel(job_id)
    world.ledger.cancel(overdue)
    world.advance(60_000)
    world.ledger.reap([])
    assert world.job(job_id).status is JobStatus.CANCELED
    assert world.job(overdue).status is JobStatus.CANCELED
    assert world.ledger.commit(job_id, 0, fence, output()) == "fenced"


# Deletion


@pytest.mark.parametrize("phase", [*UNHELD, World.finish])
def test_a_deleted_job_is_forgotten_with_what_it_made(
    world: World, phase: Callable[[World], str]
) -> None:
    job_id = phase(world)
    world.ledger.delete(job_id)
    for call in (world.ledger.get, world.ledger.cancel, world.ledger.delete):
        with pytest.raises(NotFound):
            call(job_id)
    assert world.ledger.jobs("t").jobs == []
    assert world.ledger.jobs("t", status=JobStatus.CANCELED).jobs == []
    assert world.ledger.garbage() == [f"jobs/{job_id}/"]
    assert world.ledger.unsaved(0) == []
    assert world.claim(job_id) == Claim("gone")


def test_a_running_job_is_hidden_at_once_and_erased_when_its_worker_lets_go(world: World) -> None:
    job_id, fence = world.lease()
    world.ledger.delete(job_id)
    world.ledger.delete(job_id)
    for call in (world.ledger.get, world.ledger.cancel):
        with pytest.raises(NotFound):
            call(job_id)
    assert world.ledger.jobs("t").jobs == []
    assert world.ledger.jobs("t", status=JobStatus.CANCELING).jobs == []
    assert world.ledger.garbage() == []  # its worker may still be uploading
    assert world.ledger.renew(job_id, 0, fence) == "cancel"
    assert world.ledger.commit(job_id, 0, fence, output()) == "canceled"
    assert world.ledger.garbage() == [f"jobs/{job_id}/"]
    assert world.ledger.commit(job_id, 0, fence, output()) == "fenced"
    with pytest.raises(NotFound):
        world.ledger.delete(job_id)


def test_a_deleted_running_job_whose_worker_was_lost_is_erased_by_the_reaper(world: World) -> None:
    job_id, _ = world.lease()
    world.ledger.delete(job_id)
    world.advance(60_000)
    world.ledger.reap([])
    assert world.ledger.garbage() == [f"jobs/{job_id}/"]


def test_garbage_is_listed_oldest_first_until_it_is_erased(world: World) -> None:
    ids = []
    for _ in range(3):
        ids.append(world.submit())
        world.ledger.delete(ids[-1])
        world.advance(1)
    prefixes = [f"jobs/{job_id}/" for job_id in ids]
    assert world.ledger.garbage() == prefixes
    assert world.ledger.garbage(limit=2) == prefixes[:2]
    world.ledger.erased(prefixes[0])
    world.ledger.erased(prefixes[0])
    assert world.ledger.garbage() == prefixes[1:]
