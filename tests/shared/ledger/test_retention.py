"""EXPIRE: ended jobs and uploads go when they were kept as long as was promised."""

import pytest

from shared.errors import NotFound
from tests.shared.ledger.world import World, new_file, new_job, output

HOUR_MS = 3_600_000


def gone(world: World, job_id: str) -> bool:
    try:
        world.job(job_id)
    except NotFound:
        return True
    return False


def test_an_ended_job_goes_with_what_it_made(world: World) -> None:
    job_id = world.finish("captioner")
    world.advance(HOUR_MS - 1)
    assert world.ledger.expire() == 0
    world.advance(1)
    assert world.ledger.expire() == 1
    assert gone(world, job_id)
    assert world.ledger.garbage() == [f"jobs/{job_id}/"]
    assert world.ledger.jobs("t").jobs == []
    assert world.ledger.unsaved(0) == []
    assert world.ledger.expire() == 0


def test_retention_begins_when_a_job_ends(world: World) -> None:
    job_id = world.publish("captioner")
    world.advance(2 * HOUR_MS)
    assert world.ledger.expire() == 0
    fence = world.claim(job_id).fence
    world.ledger.commit(job_id, 0, fence, output())
    assert world.ledger.expire() == 0
    world.advance(HOUR_MS)
    assert world.ledger.expire() == 1
    assert gone(world, job_id)


def test_every_job_has_its_own_retention(world: World) -> None:
    short, long = world.submit(retention_s=1), world.submit(retention_s=3)
    for job_id in (short, long):
        world.ledger.cancel(job_id)
    world.advance(1_000)
    assert world.ledger.expire() == 1
    assert (gone(world, short), gone(world, long)) == (True, False)


def test_an_unused_upload_goes(world: World) -> None:
    file = world.ledger.put_file(new_file())
    world.advance(HOUR_MS - 1)
    assert world.ledger.expire() == 0
    world.advance(1)
    assert world.ledger.expire() == 1
    assert world.ledger.garbage() == [file.key]
    with pytest.raises(NotFound):
        world.ledger.get_file("t", file.id)
    assert world.ledger.expire() == 0


def test_uploading_again_keeps_a_file_for_longer(world: World) -> None:
    world.ledger.put_file(new_file())
    world.advance(HOUR_MS - 1)
    again = world.ledger.put_file(new_file())
    world.advance(1)
    assert world.ledger.expire() == 0
    assert world.ledger.get_file("t", again.id) == again
    world.advance(HOUR_MS - 1)
    assert world.ledger.expire() == 1


def test_an_upload_that_a_job_needs_stays_for_that_job_alone(world: World) -> None:
    file = world.ledger.put_file(new_file())
    job_id, fence = world.lease("captioner", files=(file.id,))
    world.advance(HOUR_MS)
    assert world.ledger.expire() == 1
    assert world.ledger.garbage() == []
    assert world.ledger.file_key(file.id)[0] == file.key
    with pytest.raises(NotFound):
        world.submit(files=(file.id,))
    world.ledger.commit(job_id, 0, fence, output())
    assert world.ledger.garbage() == [file.key]


def test_a_deleted_upload_does_not_expire_once_more(world: World) -> None:
    file = world.ledger.put_file(new_file())
    job_id = world.submit(files=(file.id,))
    world.ledger.delete_file("t", file.id)
    world.advance(HOUR_MS)
    assert world.ledger.expire() == 0
    world.ledger.cancel(job_id)
    assert world.ledger.garbage() == [file.key]


def test_a_call_handles_a_bounded_number_oldest_first(world: World) -> None:
    ids = []
    for _ in range(3):
        ids.append(world.finish("captioner"))
        world.advance(1)
    world.advance(HOUR_MS)
    assert world.ledger.expire(limit=2) == 2
    assert [gone(world, job_id) for job_id in ids] == [True, True, False]
    assert world.ledger.expire(limit=2) == 1


# The Idempotency-Key of what is gone


def test_the_request_of_a_deleted_job_makes_a_new_one(world: World) -> None:
    first, second = new_job(), new_job()
    world.ledger.submit(first, ("key", "digest"))
    world.ledger.delete(first.id)
    assert world.ledger.find_idempotent("t", "key") is None
    assert world.ledger.submit(second, ("key", "digest")).job_id == second.id


def test_a_running_jobs_key_is_free_as_soon_as_it_is_deleted(world: World) -> None:
    first, second = new_job("captioner"), new_job()
    world.ledger.submit(first, ("key", "digest"))
    fence = world.claim(first.id).fence
    world.ledger.delete(first.id)
    assert world.ledger.submit(second, ("key", "digest")).job_id == second.id
    assert world.ledger.commit(first.id, 0, fence, output()) == "canceled"
    assert world.ledger.find_idempotent("t", "key") == (second.id, "digest")


def test_an_expired_job_takes_its_key_along(world: World) -> None:
    job = new_job(retention_s=1)
    world.ledger.submit(job, ("key", "digest"))
    world.ledger.submit(other := new_job(tenant="u"), ("key", "digest"))
    world.ledger.cancel(job.id)
    assert world.ledger.find_idempotent("t", "key") == (job.id, "digest")
    world.advance(1_000)
    world.ledger.expire()
    assert world.ledger.find_idempotent("t", "key") is None
    assert world.ledger.find_idempotent("u", "key") == (other.id, "digest")
