"""REAP and UNSERVED: nothing stays behind, and nothing is set going without need."""

from collections.abc import Callable

import pytest

from shared.contracts import JobStatus, Priority, StepStatus
from shared.errors import ModelProcessDied
from shared.ledger.ledger import PUBLISH_GRACE_MS
from shared.ledger.records import Claim, Publication
from tests.shared.ledger.world import World, output

CAPTIONER = "1-interactive.captioner.tiny"
TRANSLATOR = "1-interactive.translator.tiny"
DIFFUSER = "1-interactive.diffuser.tiny"
LEASE_MS = 60_000


def error_of(world: World, job_id: str) -> tuple[str, str | None]:
    error = world.job(job_id).error
    assert error is not None
    return error.code, error.step


# Leases


def test_the_step_of_a_lost_worker_waits_again_when_its_lease_is_over(world: World) -> None:
    job_id, _ = world.lease()
    world.advance(LEASE_MS - 1)
    world.ledger.reap([])
    assert world.job(job_id).steps[0].status is StepStatus.RUNNING
    world.advance(1)
    assert world.ledger.reap([]) == []
    job = world.job(job_id)
    assert (job.status, job.steps[0].status) == (JobStatus.RUNNING, StepStatus.QUEUED)
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == [job_id]
    assert world.claim(job_id) == Claim("ok", fence=2, attempt=2)
    assert world.ledger.counters()["lease_expired"] == 1


def test_a_step_in_the_middle_goes_on_from_there(world: World) -> None:
    job_id, fence = world.lease()
    world.ledger.commit(job_id, 0, fence, output())
    world.claim(job_id, 1)
    world.advance(LEASE_MS)
    world.ledger.reap([])
    assert world.ledger.admit(TRANSLATOR) == [Publication(job_id, 1, (TRANSLATOR, DIFFUSER))]


def test_a_step_that_loses_every_worker_is_poison(world: World) -> None:
    job_id, _ = world.lease()
    for attempt in (2, 3):
        world.advance(LEASE_MS)
        world.ledger.reap([])
        assert world.claim(job_id).attempt == attempt
    world.advance(LEASE_MS)
    world.ledger.reap([])
    assert world.job(job_id).status is JobStatus.FAILED
    assert error_of(world, job_id) == ("poison", "captioner-step")


# Messages


def test_a_message_is_given_time_to_travel(world: World) -> None:
    world.publish()
    world.advance(PUBLISH_GRACE_MS - 1)
    assert world.ledger.reap([CAPTIONER]) == []


def test_a_step_is_published_again_when_its_queue_is_empty(world: World) -> None:
    job_id = world.publish()
    world.advance(PUBLISH_GRACE_MS)
    assert world.ledger.reap([CAPTIONER]) == [
        Publication(job_id, 0, (CAPTIONER, TRANSLATOR, DIFFUSER))
    ]
    assert world.ledger.reap([CAPTIONER]) == []
    world.advance(PUBLISH_GRACE_MS)
    assert len(world.ledger.reap([CAPTIONER])) == 1
    assert world.ledger.counters()["republished"] == 2


def test_a_backlog_is_left_alone_however_long_it_waits(world: World) -> None:
    for _ in range(3):
        world.publish()
    for _ in range(5):
        world.advance(PUBLISH_GRACE_MS)
        assert world.ledger.reap([TRANSLATOR, DIFFUSER]) == []


def test_a_step_is_published_again_when_claims_have_passed_it(world: World) -> None:
    lost = world.publish()
    world.advance(PUBLISH_GRACE_MS + 1)
    taken, behind = world.publish(), world.publish()
    assert world.ledger.reap([]) == []
    world.claim(taken)
    world.advance(PUBLISH_GRACE_MS)
    assert [p.job_id for p in world.ledger.reap([])] == [lost]
    world.advance(PUBLISH_GRACE_MS)
    assert world.ledger.reap([]) == []  # its new message stands behind those claimed so far
    world.claim(behind)
    world.advance(PUBLISH_GRACE_MS)
    assert world.ledger.reap([]) == []
    assert world.claim(lost).state == "ok"


def test_messages_that_overtake_one_another_are_not_lost(world: World) -> None:
    slow = world.publish()
    world.advance(PUBLISH_GRACE_MS)  # as long as it may take on its way
    fast = world.publish()
    world.claim(fast)
    for _ in range(5):
        world.advance(PUBLISH_GRACE_MS)
        assert world.ledger.reap([]) == []
    assert world.claim(slow).state == "ok"


def test_a_message_that_comes_twice_makes_no_others_look_lost(world: World) -> None:
    first, *others = (world.publish() for _ in range(3))
    world.advance(PUBLISH_GRACE_MS)
    for _ in range(2):
        assert {p.job_id for p in world.ledger.reap([CAPTIONER])} == {first, *others}
        world.advance(2 * PUBLISH_GRACE_MS)
    world.claim(first)  # by whichever of its three messages
    assert world.ledger.reap([]) == []


def test_the_next_link_that_was_lost_with_its_worker_is_published(world: World) -> None:
    job_id, fence = world.lease()
    world.ledger.commit(job_id, 0, fence, output())
    world.advance(PUBLISH_GRACE_MS)
    assert world.ledger.reap([CAPTIONER]) == []
    world.advance(PUBLISH_GRACE_MS)
    assert world.ledger.reap([TRANSLATOR]) == [Publication(job_id, 1, (TRANSLATOR, DIFFUSER))]


# Deadlines


def fresh(world: World) -> str:
    return world.submit(deadline_s=5)


def admitted(world: World) -> str:
    return world.publish(deadline_s=5)


@pytest.mark.parametrize("phase", [fresh, admitted])
def test_a_deadline_before_the_first_start_expires_the_job(
    world: World, phase: Callable[[World], str]
) -> None:
    job_id = phase(world)
    world.advance(4_999)
    world.ledger.reap([])
    assert world.job(job_id).status is JobStatus.QUEUED
    world.advance(1)
    assert world.ledger.reap([CAPTIONER]) == []
    job = world.job(job_id)
    assert (job.status, job.error) == (JobStatus.EXPIRED, None)
    assert {s.status for s in job.steps} == {StepStatus.CANCELED}
    assert world.claim(job_id) == Claim("terminal")


def test_a_claim_after_the_deadline_is_refused(world: World) -> None:
    job_id = world.publish(deadline_s=5)
    world.advance(5_000)
    assert world.claim(job_id) == Claim("terminal")
    assert world.job(job_id).status is JobStatus.EXPIRED


def lost_worker(world: World) -> str:
    return world.lease(deadline_s=90)[0]


def retrying(world: World) -> str:
    job_id, fence = world.lease(deadline_s=90)
    world.ledger.fail(job_id, 0, fence, ModelProcessDied("x"), delay_s=3600)
    return job_id


def given_back(world: World) -> str:
    job_id, fence = world.lease(deadline_s=90)
    world.ledger.release(job_id, 0, fence)
    return job_id


@pytest.mark.parametrize("phase", [lost_worker, retrying, given_back])
def test_a_deadline_after_the_start_fails_the_job(
    world: World, phase: Callable[[World], str]
) -> None:
    job_id = phase(world)
    world.advance(90_000)
    world.ledger.reap([])
    assert world.job(job_id).status is JobStatus.FAILED
    assert error_of(world, job_id) == ("deadline_exceeded", "captioner-step")


def test_a_deadline_between_two_steps_fails_the_step_whose_turn_it_was(world: World) -> None:
    job_id, fence = world.lease(deadline_s=5)
    world.ledger.commit(job_id, 0, fence, output())
    world.advance(5_000)
    assert world.claim(job_id, 1) == Claim("terminal")
    assert error_of(world, job_id) == ("deadline_exceeded", "translator-step")


def test_no_clock_runs_without_a_deadline(world: World) -> None:
    job_id = world.submit()
    world.advance(30 * 24 * 3_600_000)
    world.ledger.reap([])
    assert world.job(job_id).status is JobStatus.QUEUED
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == [job_id]


# Bounded work


def test_a_call_deals_with_a_bounded_number_oldest_first(world: World) -> None:
    ids = []
    for _ in range(3):
        ids.append(world.publish())
        world.advance(1)
    world.advance(PUBLISH_GRACE_MS)
    assert [p.job_id for p in world.ledger.reap([CAPTIONER], limit=2)] == ids[:2]
    assert [p.job_id for p in world.ledger.reap([CAPTIONER], limit=2)] == ids[2:]


def test_a_long_backlog_does_not_keep_the_reaper_from_expired_leases(world: World) -> None:
    for _ in range(20):
        world.submit()
    world.advance(1)
    leased, _ = world.lease(priority=Priority.BULK)
    world.advance(LEASE_MS)
    world.ledger.reap([], limit=1)
    assert world.job(leased).steps[0].status is StepStatus.QUEUED


# Queues that nobody serves


def test_what_waits_for_an_absent_model_is_failed(world: World) -> None:
    ids = [world.submit("diffuser") for _ in range(4)]
    world.ledger.admit(DIFFUSER)
    held = ids.pop(0)
    world.claim(held)
    elsewhere = world.submit("captioner")
    assert world.ledger.fail_unserved(DIFFUSER, "no worker has served it") == 3
    for job_id in ids:
        assert world.job(job_id).status is JobStatus.FAILED
        assert error_of(world, job_id) == ("model_not_available", "diffuser-step")
    assert world.job(held).status is JobStatus.RUNNING
    assert world.job(elsewhere).status is JobStatus.QUEUED
    assert world.ledger.fail_unserved(DIFFUSER, "no worker has served it") == 0
