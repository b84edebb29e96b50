"""From a chunk's lines to the jobs that run its items."""

from collections.abc import Iterator, Sequence
from itertools import count, groupby

from api.batches.planning import Planned, Refused, plan
from api.batches.reuse import Known
from api.batches.shards import Shards, never_ran, refusal, source_lines, write_refused
from api.services import TENANT, Services
from api.submission import ring
from shared.batches import BatchRecord, BatchStatus, OpenChunk
from shared.contracts import BatchPlace, JobRecord, NewJob
from shared.errors import ChunkClosed, NotFound
from shared.item_jobs import chunk_job_id


def fill(
    services: Services,
    batch: BatchRecord,
    chunk: int,
    opened: OpenChunk,
    known: Known | None = None,
) -> frozenset[str]:
    """Submit the jobs of an opened chunk; the queues that they go through.

    Items with a result are not run again, nor those of which one is `known`. What cannot be run
    gets its line at once. Whoever goes on after a kill leaves the jobs that are there as they are,
    and submits the rest.
    Raises StorageUnavailable, LedgerUnavailable.
    """
    place = BatchPlace(batch_id=batch.id, chunk=chunk, opening=opened.opening)
    shards = Shards.read(services.store, batch.id, chunk)
    there = list(_submitted(services, place))
    taken = {number for job in there for number in numbers_of(job)}
    lines = [
        line
        for line in source_lines(services.store, batch.id, chunk)
        if line["number"] not in shards.results and line["number"] not in taken
    ]
    planned: list[Planned | Refused]
    if batch.status is BatchStatus.CANCELLING:
        never = [line for line in lines if line["number"] not in shards]
        planned = [Refused(line, never_ran(batch)) for line in never]
    else:
        planned = plan(services, batch, lines)
    refused = {
        each.line["number"]: refusal(batch.id, each.line, each.error)
        for each in planned
        if isinstance(each, Refused)
    }
    if refused:
        write_refused(services.store, batch.id, chunk, opened.opening, refused)
    runnable = [each for each in planned if isinstance(each, Planned)]
    if known and runnable:
        done = known.take(chunk, runnable)
        runnable = [each for each in runnable if each.item.number not in done]
    new = [
        _new_job(services, place, len(there) + index, group)
        for index, group in enumerate(_groups(runnable))
    ]
    submit(services, place, [job.id for job in there], new)
    return frozenset(step.queue(job.priority) for job in new for step in job.steps)


def submit(
    services: Services, place: BatchPlace, there: Sequence[str], new: Sequence[NewJob]
) -> None:
    """Submit more jobs of a chunk that has the jobs `there`, and ring for the workers; in vain
    where it was closed meanwhile."""
    ids = (*there, *(job.id for job in new))
    try:
        for job in new:
            services.ledger.submit(job)
    except ChunkClosed:
        return
    services.ledger.chunk_jobs(place.batch_id, place.chunk, place.opening, ids)
    ring(services, {job.steps[0].queue(job.priority) for job in new})


def numbers_of(job: JobRecord) -> list[int]:
    """The items that a batch's job runs."""
    if job.items:
        return [item.number for item in job.items]
    assert job.batch is not None
    assert job.batch.number is not None
    return [job.batch.number]


def of_one_item(job: JobRecord, number: int, job_id: str, retention_s: float) -> NewJob:
    """A chunk job's item as a job of its own."""
    assert job.batch is not None
    item = next(item for item in job.items if item.number == number)
    return NewJob(
        id=job_id,
        tenant=job.tenant,
        kind=job.kind,
        priority=job.priority,
        input=item.input,
        steps=tuple(record.step for record in job.steps),
        batch=job.batch.model_copy(update={"number": number}),
        metadata=item.metadata,
        retention_s=retention_s,
    )


def _submitted(services: Services, place: BatchPlace) -> Iterator[JobRecord]:
    """The jobs of this opening that are there already: they were submitted in order."""
    for index in count():
        try:
            yield services.ledger.get(chunk_job_id(place, index))
        except NotFound:
            return


def _groups(planned: Sequence[Planned]) -> Iterator[list[Planned]]:
    """Items that share a job."""
    yield from ([each] for each in planned if each.single)
    together = sorted((each for each in planned if not each.single), key=lambda each: each.work)
    for _, group in groupby(together, key=lambda each: each.work):
        yield list(group)


def _new_job(services: Services, place: BatchPlace, index: int, group: Sequence[Planned]) -> NewJob:
    first = group[0]
    alone = first.single
    return NewJob(
        id=chunk_job_id(place, index),
        tenant=TENANT,
        kind=first.kind,
        priority=first.priority,
        input=first.item.input if alone else {},
        items=() if alone else tuple(each.item for each in group),
        steps=first.steps,
        batch=place.model_copy(update={"number": first.item.number if alone else None}),
        metadata=first.item.metadata if alone else {},
        retention_s=services.settings.retention_days * 86_400,
    )
