"""Batches: chunks opened and closed, counts, pause, cancel, retry and the jobs of a chunk."""

from typing import Any

import pytest

from shared.batches import BatchCounts, BatchProblem, BatchRecord, BatchStatus, OpenChunk
from shared.contracts import BatchPlace, Item, JobStatus, Priority
from shared.errors import ChunkClosed, Conflict, IdempotencyConflict, NotFound
from shared.item_jobs import chunk_job_id
from tests.shared.ledger.world import START_MS, World, new_batch, new_job, output

HOUR_MS = 3_600_000


class Batch:
    """A batch of a world's ledger, and what a keeper does with it."""

    def __init__(self, world: World, chunks: int = 3, **fields: Any) -> None:
        """Of `chunks` full chunks; not indexed where there are none."""
        self.ledger = world.ledger
        self.id = self.ledger.create_batch(new_batch(**fields)).job_id
        if chunks:
            self.ledger.indexed(self.id, chunks, 64 * chunks, 5_000)

    @property
    def record(self) -> BatchRecord:
        return self.ledger.batch(self.id)

    def open(self, window: int = 8) -> tuple[int, int]:
        """The next chunk, and its opening."""
        opened = self.ledger.open_chunk(self.id, window)
        assert opened is not None
        return opened[0], opened[1].opening

    def submit(self, chunk: int, opening: int, index: int = 0, **fields: Any) -> str:
        place = BatchPlace(batch_id=self.id, chunk=chunk, opening=opening)
        items = tuple(
            Item(number=chunk * 64 + i, custom_id=f"é{i}", input={"n": i}) for i in range(2)
        )
        job = new_job(
            "captioner",
            id=chunk_job_id(place, index),
            input={},
            batch=place,
            items=items,
            priority=Priority.BULK,
            **fields,
        )
        return self.ledger.submit(job).job_id

    def close(self, chunk: int, opening: int, completed: int = 64, **codes: int) -> bool:
        failed = sum(codes.values())
        return self.ledger.close_chunk(self.id, chunk, opening, completed, failed, codes)

    def run(self, **codes: int) -> int:
        """Open and close the next chunk."""
        chunk, opening = self.open()
        assert self.close(chunk, opening, 64 - sum(codes.values()), **codes)
        return chunk

    def end(self) -> BatchRecord:
        return self.ledger.finished(self.id, "file_out", None)


def test_a_created_batch_is_recorded_as_it_was_given(world: World) -> None:
    new = new_batch(
        request={"source": {"type": "s3_prefix"}, "job": {"input": {"text": "حمراء", "no": None}}},
        metadata={"owner": {"name": "é"}, "list": []},
        completion_window_s=60,
    )
    created = world.ledger.create_batch(new, ("key", "digest"))
    assert (created.job_id, created.created) == (new.id, True)
    record = world.ledger.batch(new.id)
    assert record == BatchRecord(
        status=BatchStatus.VALIDATING,
        idempotency=("key", "digest"),
        created_at=START_MS,
        window_ms=60_000,
        deadline_at=START_MS + 60_000,
        retention_ms=HOUR_MS,
        **new.model_dump(exclude={"retention_s", "completion_window_s"}),
    )
    world.advance(5)
    assert world.ledger.create_batch(new, ("key", "digest")).created
    assert world.ledger.batch(new.id) == record


def test_batches_and_jobs_share_the_idempotency_keys(world: World) -> None:
    first = new_batch()
    world.ledger.create_batch(first, ("key", "digest"))
    again = world.ledger.create_batch(new_batch(), ("key", "digest"))
    assert (again.job_id, again.created) == (first.id, False)
    for conflicting in (
        lambda: world.ledger.create_batch(new_batch(), ("key", "another")),
        lambda: world.ledger.submit(new_job(), ("key", "another")),
    ):
        with pytest.raises(IdempotencyConflict):
            conflicting()
    world.ledger.delete_batch(first.id)
    assert world.ledger.find_idempotent("t", "key") is None


def test_listing_pages_newest_first(world: World) -> None:
    ids = [Batch(world, chunks=0).id for _ in range(3)]
    foreign = Batch(world, chunks=0, tenant="u").id
    page = world.ledger.batches("t", limit=2)
    assert ([batch.id for batch in page.batches], page.next) == ([ids[2], ids[1]], ids[1])
    Batch(world, chunks=0)  # what is new does not shift the pages after it
    page = world.ledger.batches("t", limit=2, after=page.next)
    assert ([batch.id for batch in page.batches], page.next) == ([ids[0]], None)
    with pytest.raises(NotFound):
        world.ledger.batches("t", after=foreign)


def test_unknown_batches_are_not_found(world: World) -> None:
    ledger = world.ledger
    for call in (
        ledger.batch,
        ledger.pause_batch,
        ledger.resume_batch,
        ledger.cancel_batch,
        ledger.expire_batch,
        ledger.retry_batch,
        ledger.delete_batch,
        lambda i: ledger.indexed(i, 1, 1, 1),
        lambda i: ledger.fail_batch(i, []),
        lambda i: ledger.finished(i, None, None),
        lambda i: ledger.note_batch(i, {"a": 1}),
    ):
        with pytest.raises(NotFound):
            call("batch_absent")
    assert ledger.open_chunk("batch_absent", 8) is None
    assert not ledger.close_chunk("batch_absent", 0, 1, 1, 0, {})


# From one end to the other


def test_a_batch_from_its_creation_to_its_end(world: World) -> None:
    batch = Batch(world, chunks=3)
    assert batch.record.status is BatchStatus.IN_PROGRESS
    assert world.ledger.active_batches() == [batch.id]
    opened = [batch.open(window=2) for _ in range(2)]
    assert [chunk for chunk, _ in opened] == [0, 1]
    assert world.ledger.open_chunk(batch.id, 2) is None
    assert batch.record.open == {chunk: OpenChunk(opening=o) for chunk, o in opened}
    world.advance(1_000)
    assert batch.close(*opened[1], 62, invalid_image=1, poison=1)
    third = batch.open(window=2)
    assert third[0] == 2
    assert third[1] > opened[1][1] > opened[0][1]
    assert world.ledger.open_chunk(batch.id, 8) is None
    batch.close(*opened[0])
    assert batch.record.status is BatchStatus.IN_PROGRESS
    batch.close(*third, 62, invalid_image=2)
    assert batch.record.status is BatchStatus.FINALIZING
    assert batch.record.counts == BatchCounts(total=192, completed=188, failed=4)
    assert batch.record.error_codes == {"invalid_image": 3, "poison": 1}
    ended = batch.end()
    assert (ended.status, ended.output_file_id) == (BatchStatus.COMPLETED, "file_out")
    assert (ended.in_progress_at, ended.finalizing_at) == (START_MS, START_MS + 1_000)
    assert ended.expires_at == START_MS + 1_000 + HOUR_MS
    assert world.ledger.active_batches() == []
    assert batch.end() == ended


def test_a_source_that_is_of_no_use_fails_the_batch(world: World) -> None:
    batch = Batch(world, chunks=0)
    problem = BatchProblem(code="empty_source", message="nothing there", param="/source/url")
    failed = world.ledger.fail_batch(batch.id, [problem])
    assert (failed.status, failed.problems) == (BatchStatus.FAILED, (problem,))
    assert world.ledger.indexed(batch.id, 1, 1, 1) == failed
    for move in (world.ledger.cancel_batch, world.ledger.retry_batch, world.ledger.resume_batch):
        with pytest.raises(Conflict, match="failed"):
            move(batch.id)


def test_an_opening_is_closed_once(world: World) -> None:
    batch = Batch(world)
    chunk, opening = batch.open()
    assert not batch.close(chunk, opening - 1)
    assert batch.close(chunk, opening, 60, poison=4)
    assert not batch.close(chunk, opening, 60, poison=4)
    assert batch.record.counts == BatchCounts(total=192, completed=60, failed=4)


# Pause and resume


def test_a_paused_batch_opens_no_chunk_but_closes_those_that_are_open(world: World) -> None:
    batch = Batch(world, chunks=2)
    first, second = batch.open(), batch.open()
    world.advance(7)
    paused = world.ledger.pause_batch(batch.id)
    assert (paused.status, paused.paused_by) == (BatchStatus.PAUSED, "user")
    assert paused.paused_at == START_MS + 7
    assert world.ledger.open_chunk(batch.id, 8) is None
    batch.close(*first)
    assert batch.record.status is BatchStatus.PAUSED
    batch.close(*second)
    assert batch.record.status is BatchStatus.FINALIZING


def test_a_resumed_batch_goes_on(world: World) -> None:
    batch = Batch(world)
    batch.run()
    world.ledger.pause_batch(batch.id)
    resumed = world.ledger.resume_batch(batch.id)
    assert (resumed.status, resumed.paused_at, resumed.paused_by) == ("in_progress", None, None)
    assert world.ledger.resume_batch(batch.id) == resumed
    assert batch.run() == 1


def test_a_users_pause_outlives_the_schedules(world: World) -> None:
    batch = Batch(world)
    assert world.ledger.pause_batch(batch.id, "schedule").paused_by == "schedule"
    assert world.ledger.pause_batch(batch.id).paused_by == "user"
    assert world.ledger.pause_batch(batch.id, "schedule").paused_by == "user"


@pytest.mark.parametrize("begins_paused", [True, False])
def test_a_batch_may_begin_paused(world: World, begins_paused: bool) -> None:
    batch = Batch(world, chunks=0, start_paused=not begins_paused)
    move = world.ledger.pause_batch if begins_paused else world.ledger.resume_batch
    assert move(batch.id).status is BatchStatus.VALIDATING
    indexed = world.ledger.indexed(batch.id, 1, 5, 100)
    expected = (BatchStatus.PAUSED, "user") if begins_paused else (BatchStatus.IN_PROGRESS, None)
    assert (indexed.status, indexed.paused_by) == expected


# Cancel, and the end of the completion window


@pytest.mark.parametrize("ends_as", [BatchStatus.CANCELLED, BatchStatus.EXPIRED])
def test_a_stopped_batch_waits_for_its_open_chunks(world: World, ends_as: BatchStatus) -> None:
    ledger = world.ledger
    stops = {BatchStatus.CANCELLED: ledger.cancel_batch, BatchStatus.EXPIRED: ledger.expire_batch}
    batch = Batch(world)
    opened = batch.open()
    stopping = stops[ends_as](batch.id)
    assert (stopping.status, stopping.ends_as) == (BatchStatus.CANCELLING, ends_as)
    for stop in stops.values():  # the first word counts
        assert stop(batch.id) == stopping
    assert ledger.open_chunk(batch.id, 8) is None
    with pytest.raises(Conflict):
        ledger.pause_batch(batch.id)
    batch.close(*opened, 3, batch_cancelled=61)
    assert batch.record.status is BatchStatus.FINALIZING
    ended = batch.end()
    assert ended.status is ends_as
    assert ended.counts == BatchCounts(total=192, completed=3, failed=61)
    assert stops.pop(ends_as)(batch.id) == ended
    for stop in stops.values():
        with pytest.raises(Conflict, match=ends_as):
            stop(batch.id)


def test_a_batch_that_is_about_to_complete_cannot_be_stopped(world: World) -> None:
    batch = Batch(world, chunks=1)
    batch.run()
    with pytest.raises(Conflict, match="finalizing"):
        world.ledger.cancel_batch(batch.id)
    assert batch.end().status is BatchStatus.COMPLETED


def test_a_batch_cancelled_before_its_source_was_read_may_begin_anew(world: World) -> None:
    batch = Batch(world, chunks=0)
    assert world.ledger.cancel_batch(batch.id).status is BatchStatus.FINALIZING
    assert world.ledger.indexed(batch.id, 3, 138, 1).chunks is None
    assert world.ledger.finished(batch.id, None, None).status is BatchStatus.CANCELLED
    assert world.ledger.retry_batch(batch.id).status is BatchStatus.VALIDATING
    assert world.ledger.indexed(batch.id, 3, 138, 1).status is BatchStatus.IN_PROGRESS


# Retry


def test_a_retry_does_chunks_with_failures_again_and_counts_anew(world: World) -> None:
    batch = Batch(world, chunks=4, completion_window_s=60)
    for codes in ({}, {"poison": 2, "invalid_image": 1}, {"poison": 1}, {}):
        batch.run(**codes)
    batch.end()
    world.advance(100_000)
    retried = world.ledger.retry_batch(batch.id)
    assert (retried.status, retried.redo, retried.retries) == (BatchStatus.IN_PROGRESS, 2, 1)
    assert (retried.completed_at, retried.expires_at, retried.output_file_id) == (None, None, None)
    assert retried.deadline_at == START_MS + 160_000
    assert world.ledger.retry_batch(batch.id) == retried
    assert retried.counts == BatchCounts(total=256, completed=252, failed=4)
    chunk, opening = batch.open()
    batch.close(chunk, opening, 63, poison=1)
    assert chunk == 1
    assert batch.record.counts == BatchCounts(total=256, completed=254, failed=2)
    assert batch.record.error_codes == {"poison": 2}
    assert batch.run() == 2
    assert batch.record.error_codes == {"poison": 1}
    assert batch.end().counts == BatchCounts(total=256, completed=255, failed=1)
    assert world.ledger.retry_batch(batch.id).redo == 1


def test_a_retry_goes_on_with_what_a_cancelled_batch_never_opened(world: World) -> None:
    batch = Batch(world, chunks=4)
    batch.run()
    batch.run(poison=1)
    world.ledger.cancel_batch(batch.id)
    batch.end()
    world.ledger.retry_batch(batch.id)
    assert [batch.run() for _ in range(3)] == [1, 2, 3]
    assert batch.record.status is BatchStatus.FINALIZING


def test_a_cancelled_retry_may_be_retried(world: World) -> None:
    batch = Batch(world, chunks=3)
    for _ in range(3):
        batch.run(poison=1)
    batch.end()
    world.ledger.retry_batch(batch.id)
    batch.run()
    world.ledger.cancel_batch(batch.id)
    batch.end()
    world.ledger.retry_batch(batch.id)
    assert [batch.run() for _ in range(2)] == [1, 2]
    assert batch.end().counts.failed == 0


def test_there_must_be_something_to_retry(world: World) -> None:
    batch = Batch(world, chunks=1)
    with pytest.raises(Conflict, match="in_progress"):
        world.ledger.retry_batch(batch.id)
    batch.run()
    batch.end()
    with pytest.raises(Conflict, match="nothing is left"):
        world.ledger.retry_batch(batch.id)


# The jobs of a chunk


def test_a_chunk_job_carries_its_items_and_stands_in_no_listing(world: World) -> None:
    batch = Batch(world)
    chunk, opening = batch.open()
    job_id = batch.submit(chunk, opening)
    assert batch.submit(chunk, opening) == job_id
    assert world.ledger.chunk_jobs(batch.id, chunk, opening, [job_id])
    assert batch.record.open[chunk] == OpenChunk(opening=opening, jobs=(job_id,))
    job = world.job(job_id)
    assert job.batch == BatchPlace(batch_id=batch.id, chunk=chunk, opening=opening)
    assert [(item.number, item.custom_id) for item in job.items] == [(0, "é0"), (1, "é1")]
    for status in (None, JobStatus.QUEUED):
        assert world.ledger.jobs("t", status=status).jobs == []
    assert world.ledger.statuses([job_id, "job_absent"]) == [JobStatus.QUEUED, None]


def test_an_ended_chunk_job_waits_for_its_chunk(world: World) -> None:
    batch = Batch(world)
    chunk, opening = batch.open()
    job_id = batch.submit(chunk, opening)
    world.ledger.admit(world.queue(job_id))
    world.ledger.commit(job_id, 0, world.claim(job_id).fence, output(n=1))
    assert world.job(job_id).status is JobStatus.SUCCEEDED
    assert world.ledger.unsaved(0) == []
    world.advance(2 * HOUR_MS)
    assert world.ledger.expire() == 0
    batch.close(chunk, opening)
    with pytest.raises(NotFound):
        world.job(job_id)
    assert world.ledger.garbage() == [f"jobs/{job_id}/"]


def test_closing_erases_jobs_that_are_still_at_work(world: World) -> None:
    batch = Batch(world)
    chunk, opening = batch.open()
    waiting, running = (batch.submit(chunk, opening, index) for index in range(2))
    for publication in world.ledger.admit(world.queue(running)):
        claim = world.claim(publication.job_id)
    batch.submit(chunk, opening, 2)  # that its keeper did not live to record
    batch.close(chunk, opening, 0, batch_cancelled=64)
    for job_id in (waiting, running):
        assert world.claim(job_id).state == "gone"
        assert world.ledger.renew(job_id, 0, claim.fence) == "lost"
    assert len(world.ledger.garbage()) == 3
    assert set(world.ledger.queues().values()) == {0}
    assert world.ledger.reap([]) == []


def test_a_job_that_comes_too_late_for_its_chunk_is_refused(world: World) -> None:
    batch = Batch(world)
    chunk, opening = batch.open()
    for late in ((chunk, opening - 1), (chunk + 1, opening)):
        with pytest.raises(ChunkClosed):
            batch.submit(*late)
    batch.close(chunk, opening)
    with pytest.raises(ChunkClosed):
        batch.submit(chunk, opening)
    assert not world.ledger.chunk_jobs(batch.id, chunk, opening, [])


# Notes and measured history


def test_notes_are_kept_by_name(world: World) -> None:
    batch = Batch(world)
    world.ledger.note_batch(batch.id, {"forecast": {"eta_s": 1.5}, "slowest": [1, None]})
    world.ledger.note_batch(batch.id, {"slowest": ["é"]})
    assert batch.record.notes == {"forecast": {"eta_s": 1.5}, "slowest": ["é"]}


def test_a_pace_forgets_slowly(world: World) -> None:
    assert world.ledger.pace("caption") is None
    world.ledger.note_pace("caption", 64, 1_000.1)
    world.ledger.note_pace("caption", 64, 3_000)
    pace = world.ledger.pace("caption")
    assert pace is not None
    assert (pace.items, pace.ms) == (120, 3_875.088)
    world.advance(91 * 24 * HOUR_MS)
    assert world.ledger.pace("caption") is None


def test_the_latest_outcomes_are_kept_once_each(world: World) -> None:
    told = [{"batch_id": f"batch_{n}", "took_s": n + 0.5} for n in range(22)]
    for outcome in (*told, told[-1]):
        world.ledger.note_outcome("caption", outcome)
    assert world.ledger.outcomes("caption") == told[:1:-1]
    assert world.ledger.outcomes("translate") == []
    world.advance(91 * 24 * HOUR_MS)
    assert world.ledger.outcomes("caption") == []


# The end


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_nothing_is_left_of_a_batch(world: World, how: str) -> None:
    batch = Batch(world)
    if how == "deleted":
        chunk, opening = batch.open()
        job_id = batch.submit(chunk, opening)
        world.ledger.delete_batch(batch.id)
        assert world.ledger.garbage() == [f"batches/{batch.id}/", f"jobs/{job_id}/"]
        with pytest.raises(ChunkClosed):
            batch.submit(chunk, opening, 1)
    else:
        world.ledger.cancel_batch(batch.id)
        batch.end()
        world.advance(HOUR_MS - 1)
        assert world.ledger.expire() == 0
        world.advance(1)
        assert world.ledger.expire() == 1
        assert world.ledger.garbage() == [f"batches/{batch.id}/"]
    with pytest.raises(NotFound):
        world.ledger.batch(batch.id)
    assert world.ledger.batches("t").batches == []
    assert world.ledger.active_batches() == []


# What comes back


def test_a_restored_batch_opens_what_was_not_closed(world: World) -> None:
    batch = Batch(world, chunks=6, metadata={"n": 1}, completion_window_s=60)
    world.ledger.note_batch(batch.id, {"a": [1]})
    for _ in range(4):
        batch.open()
    record = batch.record
    world.lose_everything()
    assert world.ledger.restore_batch(record, {0: {}, 1: {"poison": 2}, 3: {"invalid_image": 1}})
    assert not world.ledger.restore_batch(record, {})
    back = batch.record
    assert back.model_copy(update={"open": record.open}) == record.model_copy(
        update={
            "counts": BatchCounts(total=384, completed=189, failed=3),
            "error_codes": {"poison": 2, "invalid_image": 1},
            "redo": 1,
            "next_chunk": 4,
        }
    )
    assert back.open == {}
    assert world.ledger.active_batches() == [batch.id]
    assert [batch.run() for _ in range(3)] == [2, 4, 5]
    assert batch.record.status is BatchStatus.FINALIZING
    batch.end()
    assert world.ledger.retry_batch(batch.id).redo == 2


def test_the_last_chunk_of_a_restored_batch_counts_as_many_as_it_has(world: World) -> None:
    batch = Batch(world, chunks=0)
    record = world.ledger.indexed(batch.id, 2, 70, 1)
    world.lose_everything()
    world.ledger.restore_batch(record, {0: {}, 1: {"poison": 2}})
    assert batch.record.counts == BatchCounts(total=70, completed=68, failed=2)
    assert batch.record.status is BatchStatus.FINALIZING


def test_openings_after_a_loss_are_later_than_those_before(world: World) -> None:
    batch = Batch(world)
    record = batch.record
    _, before = batch.open()
    world.advance(1)
    world.lose_everything()
    world.ledger.restore_batch(record, {})
    assert batch.open()[1] > before


def test_a_retry_that_was_under_way_begins_again(world: World) -> None:
    batch = Batch(world, chunks=2)
    batch.run(poison=1)
    batch.run()
    batch.end()
    record = world.ledger.retry_batch(batch.id)
    world.lose_everything()
    world.ledger.restore_batch(record, {0: {"poison": 1}, 1: {}})
    assert batch.record == record.model_copy(update={"redo": 1})
    assert batch.run() == 0
    assert batch.record.error_codes == {}


def test_a_stopped_batch_comes_back_without_its_open_chunks(world: World) -> None:
    batch = Batch(world)
    batch.open()
    record = world.ledger.cancel_batch(batch.id)
    world.lose_everything()
    world.ledger.restore_batch(record, {})
    assert batch.record.status is BatchStatus.FINALIZING
    ended = batch.end()
    world.lose_everything()
    world.ledger.restore_batch(ended, {})
    assert batch.record == ended.model_copy(update={"next_chunk": 0})
    world.advance(HOUR_MS)
    assert world.ledger.expire() == 1


def test_an_erased_batch_does_not_come_back(world: World) -> None:
    batch = Batch(world)
    record = batch.record
    world.ledger.delete_batch(batch.id)
    assert not world.ledger.restore_batch(record, {})
