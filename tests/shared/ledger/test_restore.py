"""RESTORE: what a ledger that lost everything is told again."""

from collections.abc import Callable

import pytest

from shared.contracts import JobRecord, JobStatus, StepStatus
from shared.errors import NotFound
from shared.ledger.records import Claim, Publication
from tests.shared.ledger.world import START_MS, World, new_file, new_job, output

CAPTIONER = "1-interactive.captioner.tiny"
TRANSLATOR = "1-interactive.translator.tiny"
DIFFUSER = "1-interactive.diffuser.tiny"
HOUR_MS = 3_600_000


def lost(world: World, job_id: str) -> JobRecord:
    """The record of a job, as its manifest has it after the ledger lost everything."""
    record = JobRecord.model_validate_json(world.job(job_id).model_dump_json())
    world.lose_everything()
    return record


def succeeded(world: World) -> str:
    return world.finish(input={"prompt": "é", "n": 2}, metadata={"a": {"b": 1}}, deadline_s=99)


def failed(world: World) -> str:
    job_id = world.submit("diffuser")
    world.ledger.fail_unserved(DIFFUSER, "no worker has served it")
    return job_id


def canceled(world: World) -> str:
    job_id, fence = world.lease()
    world.ledger.commit(job_id, 0, fence, output(text="kept"))
    world.ledger.cancel(job_id)
    return job_id


def expired(world: World) -> str:
    job_id = world.submit(deadline_s=5)
    world.advance(5_000)
    world.ledger.reap([])
    return job_id


@pytest.mark.parametrize("end", [succeeded, failed, canceled, expired])
def test_an_ended_job_comes_back_as_it_was(world: World, end: Callable[[World], str]) -> None:
    record = lost(world, end(world))
    assert world.ledger.restore(record, record.fence)
    assert world.job(record.id) == record
    assert world.ledger.jobs("t", status=record.status).jobs == [record]
    assert world.ledger.unsaved(0) == []
    assert world.ledger.queues() == {}
    assert world.ledger.counters() == {}
    assert world.claim(record.id) == Claim("terminal")
    world.advance(HOUR_MS)
    assert world.ledger.expire() == 1
    assert world.ledger.garbage() == [f"jobs/{record.id}/"]


def test_a_job_that_is_there_is_left_alone(world: World) -> None:
    job_id, fence = world.lease()
    record = world.job(job_id)
    world.ledger.commit(job_id, 0, fence, output())
    before = world.job(job_id)
    assert not world.ledger.restore(record, 1_000)
    assert world.job(job_id) == before


def test_a_job_whose_objects_wait_to_be_erased_does_not_come_back(world: World) -> None:
    record = world.job(world.finish("captioner"))
    world.ledger.delete(record.id)
    assert not world.ledger.restore(record, 0)
    with pytest.raises(NotFound):
        world.job(record.id)
    world.ledger.erased(f"jobs/{record.id}/")
    assert world.ledger.restore(record, 0)


def test_jobs_are_listed_in_the_order_in_which_they_come_back(world: World) -> None:
    records = [world.job(world.submit()) for _ in range(3)]
    world.lose_everything()
    for record in records:
        world.ledger.restore(record, 0)
    assert [job.id for job in world.ledger.jobs("t").jobs] == [r.id for r in records[::-1]]
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == [r.id for r in records]


# Jobs that had not ended


def test_a_job_goes_on_at_the_step_whose_turn_it_was(world: World) -> None:
    job_id, fence = world.lease()
    world.ledger.commit(job_id, 0, fence, output(text="a cat"))
    world.claim(job_id, 1)
    record = lost(world, job_id)
    assert world.ledger.restore(record, 1_000)
    job = world.job(job_id)
    assert job.steps[0] == record.steps[0]
    assert job.outputs == {"text": "a cat"}
    assert (job.status, job.current, job.fence) == (JobStatus.RUNNING, 1, 1_000)
    assert [s.status for s in job.steps[1:]] == [StepStatus.QUEUED, StepStatus.WAITING]
    assert job.version == record.version + 1
    assert world.ledger.unsaved(0) == [job_id]
    assert world.ledger.queue_position(job) == 0
    assert world.ledger.admit(TRANSLATOR) == [Publication(job_id, 1, (TRANSLATOR, DIFFUSER))]
    # The worker of the lost life is refused, the new one begins to count from one.
    assert world.ledger.commit(job_id, 1, record.fence, output()) == "fenced"
    assert world.claim(job_id, 1) == Claim("ok", fence=1_001, attempt=1)
    for step, held in ((1, 1_001), (2, 1_002)):
        world.ledger.commit(job_id, step, held, output())
        world.claim(job_id, 2)
    assert world.job(job_id).status is JobStatus.SUCCEEDED


def test_a_job_that_never_started_waits_as_it_did(world: World) -> None:
    record = lost(world, world.submit())
    world.ledger.restore(record, 0)
    assert world.job(record.id) == record.model_copy(update={"version": record.version + 1})
    assert world.ledger.queues() == {CAPTIONER: 1}


def test_its_deadline_is_the_one_that_was_promised(world: World) -> None:
    record = lost(world, world.submit(deadline_s=90))
    world.advance(60_000)
    world.ledger.restore(record, 0)
    world.advance(30_000)
    world.ledger.reap([])
    assert world.job(record.id).status is JobStatus.EXPIRED


def test_a_job_that_was_being_canceled_is_canceled(world: World) -> None:
    file = world.ledger.put_file(new_file())
    job_id, _ = world.lease(files=(file.id,))
    assert world.ledger.cancel(job_id).status is JobStatus.CANCELING
    record = lost(world, job_id)
    world.ledger.restore_file(file)
    world.ledger.restore(record, 5)
    job = world.job(job_id)
    assert (job.status, job.finished_at) == (JobStatus.CANCELED, START_MS)
    assert {s.status for s in job.steps} == {StepStatus.CANCELED}
    assert world.ledger.unsaved(0) == [job_id]
    world.ledger.delete_file("t", file.id)
    assert world.ledger.garbage() == [file.key]


# Uploads


def test_an_upload_comes_back_with_its_times(world: World) -> None:
    file = world.ledger.put_file(new_file(width=None, height=None))
    world.lose_everything()
    world.advance(5)
    assert world.ledger.restore_file(file)
    assert world.ledger.get_file("t", file.id) == file
    assert not world.ledger.restore_file(file.model_copy(update={"expires_at": 7}))
    assert world.ledger.get_file("t", file.id) == file
    world.advance(HOUR_MS - 5)
    assert world.ledger.expire() == 1
    assert world.ledger.garbage() == [file.key]
    assert not world.ledger.restore_file(file)  # its object is about to go


@pytest.mark.parametrize("file_first", [True, False])
def test_jobs_hold_their_uploads_again(world: World, file_first: bool) -> None:
    file = world.ledger.put_file(new_file())
    record = lost(world, world.submit(files=(file.id, file.id)))
    calls = [lambda: world.ledger.restore_file(file), lambda: world.ledger.restore(record, 0)]
    for call in calls if file_first else calls[::-1]:
        assert call()
    assert world.job(record.id).files == (file.id, file.id)
    world.ledger.delete_file("t", file.id)
    assert world.ledger.garbage() == []
    world.ledger.cancel(record.id)
    assert world.ledger.garbage() == [file.key]


def test_an_upload_that_is_lost_is_left_to_the_step_to_miss(world: World) -> None:
    file = world.ledger.put_file(new_file())
    record = lost(world, world.submit(files=(file.id,)))
    assert world.ledger.restore(record, 0)
    with pytest.raises(NotFound):
        world.ledger.file_key(file.id)
    world.ledger.cancel(record.id)
    world.ledger.put_file(new_file())
    world.ledger.delete_file("t", file.id)
    assert len(world.ledger.garbage()) == 1


# The Idempotency-Key


def test_a_repeated_request_finds_the_restored_job(world: World) -> None:
    job = new_job()
    world.ledger.submit(job, ("key", "digest"))
    record = lost(world, job.id)
    assert record.idempotency == ("key", "digest")
    world.advance(23 * HOUR_MS + 500)
    world.ledger.restore(record, 0)
    assert world.ledger.submit(new_job(), ("key", "digest")).job_id == job.id
    world.advance(HOUR_MS - 1_500)
    assert world.ledger.find_idempotent("t", "key") == (job.id, "digest")
    world.advance(2_000)
    assert world.ledger.find_idempotent("t", "key") is None


def test_a_key_is_not_restored_after_its_day(world: World) -> None:
    job = new_job()
    world.ledger.submit(job, ("key", "digest"))
    record = lost(world, job.id)
    world.advance(24 * HOUR_MS)
    world.ledger.restore(record, 0)
    assert world.ledger.find_idempotent("t", "key") is None
    assert world.job(job.id).idempotency == ("key", "digest")


def test_a_key_that_was_used_again_meanwhile_stays_with_the_newer_job(world: World) -> None:
    old, new = new_job(), new_job()
    world.ledger.submit(old, ("key", "digest"))
    record = lost(world, old.id)
    world.ledger.submit(new, ("key", "digest"))
    world.ledger.restore(record, 0)
    assert world.ledger.find_idempotent("t", "key") == (new.id, "digest")
    world.ledger.delete(old.id)
    assert world.ledger.find_idempotent("t", "key") == (new.id, "digest")
