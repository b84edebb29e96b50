"""CLAIM, RENEW, COMMIT, FAIL and RELEASE, as workers see them."""

import pytest

from shared.contracts import Artifact, JobStatus, StepStatus
from shared.errors import ModelProcessDied, PredictionFailed, StorageUnavailable
from shared.ledger.records import Claim
from tests.shared.ledger.world import START_MS, World, output

DIED = ModelProcessDied("SIGSEGV")
AWAY = StorageUnavailable("S3 is away")


# CLAIM


def test_a_claim_takes_the_lease(world: World) -> None:
    job_id = world.publish()
    world.advance(70)
    assert world.claim(job_id) == Claim("ok", fence=1, attempt=1)
    job = world.job(job_id)
    assert (job.status, job.started_at) == (JobStatus.RUNNING, START_MS + 70)
    step = job.steps[0]
    assert (step.status, step.attempts, step.started_at) == (
        StepStatus.RUNNING,
        1,
        START_MS + 70,
    )
    assert world.claim(job_id) == Claim("busy")


def test_a_claim_whose_answer_was_lost_is_repeated_with_its_token(world: World) -> None:
    job_id = world.publish()
    first = world.ledger.claim(job_id, 0, "worker-1", "token")
    assert world.ledger.claim(job_id, 0, "worker-1", "token") == first
    assert world.job(job_id).fence == 1
    assert world.ledger.counters()["claims"] == 1


def test_a_claim_tells_whether_others_wait_for_admission(world: World) -> None:
    jobs = [world.publish("captioner") for _ in range(3)]
    waiting = world.submit("captioner")  # the broker's queue is full
    assert world.ledger.admit(world.queue(waiting)) == []
    assert world.claim(jobs[0]) == Claim("ok", fence=1, attempt=1, others_wait=True)
    assert [p.job_id for p in world.ledger.admit(world.queue(waiting))] == [waiting]
    assert world.claim(jobs[1]) == Claim("ok", fence=1, attempt=1)


def test_a_step_may_be_claimed_before_its_admission(world: World) -> None:
    job_id = world.submit()
    assert world.claim(job_id).state == "ok"
    assert world.ledger.admit(world.queue(job_id)) == []


def test_a_later_step_waits_for_its_turn(world: World) -> None:
    job_id = world.publish()
    assert world.claim(job_id, 1) == Claim("busy")
    assert world.job(job_id).status is JobStatus.QUEUED


def test_a_committed_step_is_stale(world: World) -> None:
    job_id, fence = world.lease()
    world.ledger.commit(job_id, 0, fence, output())
    assert world.claim(job_id, 0) == Claim("stale", next_unclaimed=True)
    second = world.claim(job_id, 1)
    assert second == Claim("ok", fence=2, attempt=1)
    assert world.claim(job_id, 0) == Claim("stale", next_unclaimed=False)
    world.ledger.commit(job_id, 1, second.fence, output())
    assert world.claim(job_id, 0) == Claim("stale", next_unclaimed=False)
    assert world.claim(job_id, 1) == Claim("stale", next_unclaimed=True)


def test_ended_and_erased_jobs_cannot_be_claimed(world: World) -> None:
    canceled, erased = world.publish(), world.publish()
    world.ledger.cancel(canceled)
    world.ledger.delete(erased)
    assert world.claim(canceled) == Claim("terminal")
    assert world.claim(world.finish()) == Claim("terminal")
    assert world.claim(erased) == Claim("gone")


# RENEW


def test_renewals_keep_the_lease_and_record_progress(world: World) -> None:
    job_id, fence = world.lease()
    for step in range(1, 4):
        world.advance(50_000)
        answer = world.ledger.renew(job_id, 0, fence, step / 3, f"step {step} of 3")
        assert answer == "ok"
        assert world.ledger.reap([]) == []
    job = world.job(job_id)
    assert (job.progress, job.progress_message) == (1.0, "step 3 of 3")
    world.advance(60_000)
    world.ledger.reap([])
    assert world.ledger.renew(job_id, 0, fence) == "lost"
    assert world.claim(job_id) == Claim("ok", fence=2, attempt=2)
    assert world.ledger.renew(job_id, 0, fence) == "lost"
    assert (world.job(job_id).progress, world.job(job_id).progress_message) == (0.0, "")


def test_renewal_tells_of_a_cancel(world: World) -> None:
    job_id, fence = world.lease()
    world.ledger.cancel(job_id)
    assert world.ledger.renew(job_id, 0, fence) == "cancel"


def test_a_steps_time_limit_is_absolute(world: World) -> None:
    job_id, fence = world.lease()
    for _ in range(11):
        world.advance(50_000)
        assert world.ledger.renew(job_id, 0, fence) == "ok"
    world.advance(49_999)
    assert world.ledger.renew(job_id, 0, fence) == "ok"
    world.advance(1)
    assert world.ledger.renew(job_id, 0, fence) == "deadline"


def test_what_was_saved_starts_the_time_limit_and_the_attempts_anew(world: World) -> None:
    job_id, fence = world.lease()
    for _ in range(30):  # 25 minutes of a step that may take 10
        world.advance(50_000)
        assert world.ledger.renew(job_id, 0, fence, 0.5, "half", {"loss": 1.5}, saved=True) == "ok"
    assert world.job(job_id).metrics == {"loss": 1.5}
    for attempt in (2, 3):
        world.advance(60_000)
        world.ledger.reap([])
        claim = world.claim(job_id)
        assert claim.attempt == attempt
        assert world.job(job_id).metrics == {}
    assert world.ledger.renew(job_id, 0, claim.fence, saved=True) == "ok"
    world.advance(60_000)
    world.ledger.reap([])
    assert world.claim(job_id).attempt == 2  # the third one was not the last


def test_renewal_stops_at_the_jobs_deadline(world: World) -> None:
    job_id, fence = world.lease(deadline_s=30)
    world.advance(29_999)
    assert world.ledger.renew(job_id, 0, fence) == "ok"
    world.advance(1)
    assert world.ledger.renew(job_id, 0, fence) == "deadline"
    # It is the worker's to end the job now; while its lease lives, the reaper leaves it alone.
    world.ledger.reap([])
    assert world.job(job_id).status is JobStatus.RUNNING


@pytest.mark.parametrize(("step", "fence"), [(0, 2), (0, 0), (1, 1)])
def test_only_the_live_fence_and_step_may_act(world: World, step: int, fence: int) -> None:
    job_id, _ = world.lease()
    assert world.ledger.renew(job_id, step, fence) == "lost"
    assert world.ledger.commit(job_id, step, fence, output()) == "fenced"
    assert world.ledger.fail(job_id, step, fence, DIED) == "fenced"
    assert world.ledger.release(job_id, step, fence) == "fenced"
    assert world.job(job_id).status is JobStatus.RUNNING
    assert world.ledger.counters()["fenced"] == 3


def test_nobody_may_act_for_an_unknown_job(world: World) -> None:
    assert world.ledger.renew("job_absent", 0, 1) == "lost"
    assert world.ledger.commit("job_absent", 0, 1, output()) == "fenced"
    assert world.ledger.release("job_absent", 0, 1) == "fenced"


# COMMIT


def test_commits_lead_through_the_chain_to_success(world: World) -> None:
    job_id, fence = world.lease("captioner", "diffuser")
    artifact = Artifact(
        name="image-0.png", key="k", media_type="image/png", sha256="d", bytes=9, seed=7
    )
    caption = output(caption="a red circle")
    world.advance(100)
    assert world.ledger.commit(job_id, 0, fence, caption) == "next"
    job = world.job(job_id)
    assert (job.status, job.current, job.outputs) == (
        JobStatus.RUNNING,
        1,
        {"caption": "a red circle"},
    )
    assert [s.status for s in job.steps] == [StepStatus.SUCCEEDED, StepStatus.QUEUED]
    assert (job.steps[0].finished_at, job.steps[1].queued_at) == (START_MS + 100, START_MS + 100)
    assert job.steps[0].output == caption
    # Its next message is on its way, so it is not admitted a second time.
    assert world.ledger.admit("1-interactive.diffuser.tiny") == []
    assert world.ledger.queues()["1-interactive.diffuser.tiny"] == 1

    world.advance(100)
    second = world.claim(job_id, 1)
    picture = output(prompt="p").model_copy(update={"artifacts": (artifact,)})
    assert world.ledger.commit(job_id, 1, second.fence, picture) == "succeeded"
    job = world.job(job_id)
    assert (job.status, job.finished_at) == (JobStatus.SUCCEEDED, START_MS + 200)
    assert job.expires_at == START_MS + 200 + 3_600_000
    assert job.outputs == {"caption": "a red circle", "prompt": "p"}
    assert job.artifacts == (artifact,)
    assert [s.attempts for s in job.steps] == [1, 1]


def test_a_repeated_commit_is_known(world: World) -> None:
    job_id, fence = world.lease("captioner", "diffuser")
    world.ledger.commit(job_id, 0, fence, output(caption="one"))
    assert world.ledger.commit(job_id, 0, fence, output(caption="two")) == "already"
    last = world.claim(job_id, 1).fence
    assert world.ledger.commit(job_id, 1, last, output()) == "succeeded"
    assert world.ledger.commit(job_id, 1, last, output()) == "already"
    assert world.ledger.commit(job_id, 0, fence, output()) == "already"
    assert world.job(job_id).outputs == {"caption": "one"}
    counters = world.ledger.counters()
    assert (counters["commits"], counters["succeeded"], counters.get("fenced")) == (2, 1, None)


def test_a_late_commit_is_fenced(world: World) -> None:
    job_id, late = world.lease("captioner")
    world.advance(60_000)
    world.ledger.reap([])
    live = world.claim(job_id).fence
    assert world.ledger.commit(job_id, 0, late, output(caption="late")) == "fenced"
    assert world.ledger.commit(job_id, 0, live, output(caption="live")) == "succeeded"
    assert world.ledger.commit(job_id, 0, late, output(caption="late")) == "fenced"
    assert world.job(job_id).outputs == {"caption": "live"}
    assert world.ledger.counters()["fenced"] == 2


def test_an_expired_lease_that_nobody_took_may_still_commit(world: World) -> None:
    job_id, fence = world.lease("captioner")
    world.advance(3_600_000)
    assert world.ledger.commit(job_id, 0, fence, output()) == "succeeded"


# FAIL and RELEASE


def test_a_retryable_failure_is_tried_again_after_its_delay(world: World) -> None:
    job_id, fence = world.lease()
    assert world.ledger.fail(job_id, 0, fence, DIED, delay_s=5) == "retry"
    job = world.job(job_id)
    assert (job.status, job.steps[0].status) == (JobStatus.RUNNING, StepStatus.QUEUED)
    world.advance(4_999)
    world.ledger.reap([])
    assert world.claim(job_id) == Claim("busy")  # a message that came twice does not shorten it
    assert world.ledger.admit(world.queue(job_id)) == []
    world.advance(1)
    assert world.ledger.reap([]) == []
    assert [p.job_id for p in world.ledger.admit(world.queue(job_id))] == [job_id]
    assert world.claim(job_id) == Claim("ok", fence=2, attempt=2)


def test_attempts_are_bounded_and_counted_per_step(world: World) -> None:
    job_id, fence = world.lease("captioner", "diffuser")
    world.ledger.fail(job_id, 0, fence, DIED)
    world.ring_retries()
    world.ledger.commit(job_id, 0, world.claim(job_id).fence, output())
    for attempt, answer in ((1, "retry"), (2, "retry"), (3, "failed")):
        claim = world.claim(job_id, 1)
        assert claim.attempt == attempt
        assert world.ledger.fail(job_id, 1, claim.fence, DIED) == answer
        world.ring_retries()
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.model_dump() == {
        "code": "poison",
        "message": "SIGSEGV",
        "step": "diffuser-step",
    }
    assert [s.status for s in job.steps] == [StepStatus.SUCCEEDED, StepStatus.FAILED]
    assert [s.attempts for s in job.steps] == [2, 3]


def test_waiting_for_storage_burns_no_attempt(world: World) -> None:
    job_id, fence = world.lease()
    for _ in range(10):
        assert world.ledger.fail(job_id, 0, fence, AWAY, delay_s=1) == "retry"
        world.ring_retries()
        claim = world.claim(job_id)
        assert claim.attempt == 1
        fence = claim.fence
    assert fence == 11


def test_a_final_failure_ends_the_job(world: World) -> None:
    job_id, fence = world.lease()
    error = PredictionFailed('NaN in «الصورة» "x"\n')
    assert world.ledger.fail(job_id, 0, fence, error) == "failed"
    job = world.job(job_id)
    assert (job.status, job.finished_at) == (JobStatus.FAILED, START_MS)
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("prediction_failed", error.message)
    assert [s.status for s in job.steps] == [
        StepStatus.FAILED,
        StepStatus.CANCELED,
        StepStatus.CANCELED,
    ]
    assert world.ledger.fail(job_id, 0, fence, error) == "fenced"


def test_a_released_step_waits_at_the_front_and_costs_no_attempt(world: World) -> None:
    first, fence = world.lease()
    second = world.submit()
    assert world.ledger.release(first, 0, fence) == "released"
    assert world.job(first).steps[0].status is StepStatus.QUEUED
    assert [p.job_id for p in world.ledger.admit(world.queue(first))] == [first, second]
    assert world.claim(first) == Claim("ok", fence=2, attempt=1)
    assert world.ledger.release(first, 0, fence) == "fenced"
