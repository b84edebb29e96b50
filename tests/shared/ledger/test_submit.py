"""SUBMIT, the Idempotency-Key, listings and ADMIT."""

import pytest

from shared.contracts import JobStatus, Priority, StepStatus
from shared.errors import IdempotencyConflict, NotFound
from shared.ledger.records import Publication
from shared.settings import Settings
from tests.shared.ledger.world import START_MS, World, new_file, new_job

CAPTIONER = "1-interactive.captioner.tiny"
TRANSLATOR = "1-interactive.translator.tiny"
DIFFUSER = "1-interactive.diffuser.tiny"
HOUR_MS = 3_600_000


def test_a_submitted_job_is_recorded_as_it_was_given(world: World) -> None:
    job = new_job(
        input={"n": 2, "prompt": "دائرة حمراء", "strength": 0.75, "list": [], "none": None},
        metadata={"owner": {"name": "é"}},
        deadline_s=12.5,
    )
    submitted = world.ledger.submit(job)
    assert (submitted.job_id, submitted.created) == (job.id, True)
    record = world.job(job.id)
    assert record.model_dump(include={"id", "tenant", "kind", "priority", "input", "metadata"}) == (
        job.model_dump(include={"id", "tenant", "kind", "priority", "input", "metadata"})
    )
    assert record.status is JobStatus.QUEUED
    assert (record.created_at, record.expires_at) == (START_MS, START_MS + HOUR_MS)
    assert record.deadline_at == START_MS + 12_500
    assert (record.started_at, record.finished_at, record.error) == (None, None, None)
    assert (record.current, record.fence, record.progress) == (0, 0, 0.0)
    assert [s.step for s in record.steps] == list(job.steps)
    assert [s.status for s in record.steps] == [
        StepStatus.QUEUED,
        StepStatus.WAITING,
        StepStatus.WAITING,
    ]
    assert [s.queued_at for s in record.steps] == [START_MS, None, None]


def test_a_repeated_submit_changes_nothing(world: World) -> None:
    job = new_job()
    world.ledger.submit(job)
    world.advance(5)
    before = world.job(job.id)
    again = world.ledger.submit(job)
    assert (again.job_id, again.created) == (job.id, True)
    assert world.job(job.id) == before
    assert world.ledger.counters() == {"submitted": 1}


def test_an_idempotency_key_stands_for_one_job(world: World) -> None:
    first, second = new_job(), new_job()
    assert world.ledger.submit(first, ("key", "digest")).created
    assert world.ledger.find_idempotent("t", "key") == (first.id, "digest")
    repeat = world.ledger.submit(second, ("key", "digest"))
    assert (repeat.job_id, repeat.created) == (first.id, False)
    with pytest.raises(IdempotencyConflict):
        world.ledger.submit(second, ("key", "another digest"))
    with pytest.raises(NotFound):
        world.job(second.id)


def test_idempotency_keys_are_a_tenants_own_and_last_a_day(world: World) -> None:
    first = new_job()
    world.ledger.submit(first, ("key", "digest"))
    other = new_job(tenant="u")
    assert world.ledger.submit(other, ("key", "another digest")).job_id == other.id
    world.advance(24 * HOUR_MS - 1_000)
    assert world.ledger.find_idempotent("t", "key") == (first.id, "digest")
    world.advance(1_001)
    assert world.ledger.find_idempotent("t", "key") is None
    later = new_job()
    assert world.ledger.submit(later, ("key", "another digest")).job_id == later.id


def test_a_submit_whose_answer_was_lost_may_be_repeated_with_its_key(world: World) -> None:
    job = new_job()
    world.ledger.submit(job, ("key", "digest"))
    assert world.ledger.submit(job, ("key", "digest")).job_id == job.id
    assert world.ledger.counters()["submitted"] == 1


@pytest.mark.parametrize("file_id", ["file_absent", "file_foreign", "file_deleted"])
def test_a_job_needs_its_files(world: World, file_id: str) -> None:
    world.ledger.put_file(new_file("file_foreign", tenant="u"))
    world.ledger.put_file(new_file("file_deleted"))
    world.ledger.delete_file("t", "file_deleted")
    world.ledger.put_file(new_file("file_here"))
    job = new_job(files=("file_here", file_id))
    with pytest.raises(NotFound, match=file_id):
        world.ledger.submit(job, ("key", "digest"))
    with pytest.raises(NotFound):
        world.job(job.id)
    assert world.ledger.find_idempotent("t", "key") is None
    world.ledger.delete_file("t", "file_here")
    assert new_file("file_here").id not in world.ledger.garbage()
    with pytest.raises(NotFound):
        world.ledger.file_key("file_here")


def test_unknown_jobs_are_not_found(world: World) -> None:
    for call in (world.ledger.get, world.ledger.cancel, world.ledger.delete):
        with pytest.raises(NotFound):
            call("job_absent")


# ADMIT


def test_admission_gives_the_whole_chain_in_order_of_submission(world: World) -> None:
    ids = [world.submit() for _ in range(2)]
    assert world.ledger.admit(CAPTIONER) == [
        Publication(job_id, 0, (CAPTIONER, TRANSLATOR, DIFFUSER)) for job_id in ids
    ]
    assert world.ledger.admit(CAPTIONER) == []
    assert world.ledger.counters()["published"] == 2


def test_admission_is_bounded_and_refills_as_steps_are_claimed(
    world: World, settings: Settings
) -> None:
    ids = [world.submit("captioner") for _ in range(5)]
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == ids[:3]
    assert world.ledger.admit(CAPTIONER) == []
    assert world.claim(ids[0]).state == "ok"
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == [ids[3]]
    assert world.ledger.queues() == {CAPTIONER: 4}


def test_admission_waits_for_room_in_every_later_queue(world: World) -> None:
    for _ in range(3):
        world.publish("diffuser")
    chained = world.submit("captioner", "diffuser")
    alone = world.submit("captioner")
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == [alone]
    drawn = world.ledger.jobs("t").jobs[-1].id
    world.claim(drawn)
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == [chained]


def test_bulk_work_has_queues_of_its_own_that_sort_last(world: World) -> None:
    bulk = world.submit("captioner", priority=Priority.BULK)
    interactive = world.submit("captioner")
    assert list(world.ledger.queues()) == [CAPTIONER, "2-bulk.captioner.tiny"]
    assert [p.job_id for p in world.ledger.admit("2-bulk.captioner.tiny")] == [bulk]
    assert [p.job_id for p in world.ledger.admit(CAPTIONER)] == [interactive]


def test_queue_position_counts_what_stands_before(world: World) -> None:
    ids = [world.submit("captioner") for _ in range(5)]
    world.ledger.admit(CAPTIONER)

    def positions() -> list[int | None]:
        return [world.ledger.queue_position(world.job(job_id)) for job_id in ids]

    assert positions() == [0, 1, 2, 3, 4]
    world.claim(ids[1])
    assert positions() == [0, None, 1, 2, 3]
    world.ledger.cancel(ids[0])
    assert positions() == [None, None, 0, 1, 2]


# Listings


def test_listing_pages_newest_first(world: World) -> None:
    ids = [world.submit() for _ in range(5)]
    world.submit(tenant="u")
    page = world.ledger.jobs("t", limit=2)
    assert [job.id for job in page.jobs] == [ids[4], ids[3]]
    world.submit()  # what is new does not shift the pages after it
    page = world.ledger.jobs("t", limit=2, after=page.next)
    assert [job.id for job in page.jobs] == [ids[2], ids[1]]
    page = world.ledger.jobs("t", limit=2, after=page.next)
    assert ([job.id for job in page.jobs], page.next) == ([ids[0]], None)


def test_a_full_last_page_is_followed_by_an_empty_one(world: World) -> None:
    for _ in range(2):
        world.submit()
    page = world.ledger.jobs("t", limit=2)
    assert page.next is not None
    after = world.ledger.jobs("t", limit=2, after=page.next)
    assert (after.jobs, after.next) == ([], None)


def test_listing_filters_by_status_and_kind(world: World) -> None:
    queued = [world.submit(kind=kind) for kind in ("blend", "caption", "blend", "caption")]
    canceled = world.submit(kind="caption")
    world.ledger.cancel(canceled)
    running, _ = world.lease(kind="blend", priority=Priority.BULK)

    def listed(**filters: object) -> list[str]:
        found, after = [], None
        while True:
            page = world.ledger.jobs("t", limit=1, after=after, **filters)  # type: ignore[arg-type]
            found += [job.id for job in page.jobs]
            after = page.next
            if after is None:
                return found

    assert listed(status=JobStatus.QUEUED) == queued[::-1]
    assert listed(kind="caption") == [canceled, queued[3], queued[1]]
    assert listed(kind="caption", status=JobStatus.QUEUED) == [queued[3], queued[1]]
    assert listed(status=JobStatus.RUNNING) == [running]
    assert listed(status=JobStatus.CANCELED) == [canceled]
    assert listed(status=JobStatus.FAILED) == []
