"""From the ended jobs of a chunk to its lines in S3."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from api import present
from api.batches.opening import numbers_of, of_one_item, submit
from api.batches.planning import signature
from api.batches.reuse import Kept
from api.batches.shards import (
    LOST,
    Line,
    Shards,
    never_ran,
    numbers,
    outcome,
    refusal,
    source_lines,
)
from api.services import Services
from shared.batches import BatchRecord, BatchStatus, OpenChunk
from shared.contracts import Artifact, BatchPlace, JobError, JobRecord, JobStatus, NewJob
from shared.errors import ModelNotAvailable, NotFound
from shared.item_jobs import of_item
from shared.layout import picture_place
from shared.parallel import parallel_map

COPIES = 8  # at once
# Errors of a job that say nothing of its items, so that one by one they would end in the same way.
OF_ALL_ITEMS = (ModelNotAvailable.code,)
UNWRITABLE = JobError(code="output_not_writable", message="the output prefix may not be written")


@dataclass(frozen=True)
class Closed:
    """A chunk whose lines lie in S3: how its items ended, and what is worth remembering of them."""

    chunk: int
    completed: int
    codes: Counter[str]
    failures: list[Line] = field(default_factory=list)
    took: list[tuple[int, str]] = field(default_factory=list)  # (ms, custom_id) of each item
    work: Counter[str] = field(default_factory=Counter)  # items by signature
    written: int = 0  # bytes of what they made
    reused: int = 0  # items whose lines are another batch's

    @property
    def failed(self) -> int:
        return self.codes.total()


def collect(services: Services, batch: BatchRecord, chunk: int, opened: OpenChunk) -> Closed | None:
    """Close a chunk whose jobs have all ended; None where it is closed already, or goes on.

    It goes on where a job failed as a whole: each of its items becomes a job of its own.
    Raises StorageUnavailable, LedgerUnavailable.
    """
    assert opened.jobs is not None
    jobs = list(_jobs(services, opened.jobs))
    if len(jobs) < len(opened.jobs) and not _still_open(services, batch, chunk, opened):
        return None
    place = BatchPlace(batch_id=batch.id, chunk=chunk, opening=opened.opening)
    if batch.status is not BatchStatus.CANCELLING:
        split = list(_split(services, jobs, opened.jobs))
        if split:
            submit(services, place, opened.jobs, split)
            return None
    try:
        return _close(services, batch, place, jobs)
    except NotFound:  # what was to be copied is gone, so the chunk was closed, or the batch erased
        if _still_open(services, batch, chunk, opened):
            raise
        return None


def _jobs(services: Services, ids: Sequence[str]) -> Iterator[JobRecord]:
    for job_id in ids:
        try:
            yield services.ledger.get(job_id)
        except NotFound:
            continue


def _still_open(services: Services, batch: BatchRecord, chunk: int, opened: OpenChunk) -> bool:
    try:
        found = services.ledger.batch(batch.id).open.get(chunk)
    except NotFound:
        return False
    return found is not None and found.opening == opened.opening


def _split(services: Services, jobs: Sequence[JobRecord], there: Sequence[str]) -> Iterator[NewJob]:
    """A job for every item of those that failed as a whole, but for what `there` is already."""
    retention_s = services.settings.retention_days * 86_400
    for job in jobs:
        if job.status is not JobStatus.FAILED or len(job.items) < 2:
            continue
        if job.error is not None and job.error.code in OF_ALL_ITEMS:
            continue
        for number in numbers_of(job):
            job_id = f"{job.id}-{number}"
            if job_id not in there:
                yield of_one_item(job, number, job_id, retention_s)


def _close(
    services: Services, batch: BatchRecord, place: BatchPlace, jobs: Sequence[JobRecord]
) -> Closed | None:
    shards = Shards.read(services.store, batch.id, place.chunk, place.opening)
    taken: dict[int, Line] = {}
    if batch.request.get("reuse"):
        kept = Kept.read(services.store, batch.id, place.chunk).lines
        taken = {number: line for number, line in kept.items() if number not in shards.results}
    for number, line in taken.items():
        shards.put(number, line)
    # Of an item whose job was split the later job counts.
    last = {number: job for job in jobs for number in numbers_of(job)}
    items = {number: of_item(job, number) for number, job in last.items()}
    known = {item.number: _named(item.number, item.custom_id) for j in jobs for item in j.items}
    lineless = {number for number in numbers(batch, place.chunk) if number not in shards}
    if (lineless | items.keys()) - known.keys():
        lines = source_lines(services.store, batch.id, place.chunk)
        known = {line["number"]: line for line in lines}
    names = {number: line["custom_id"] for number, line in known.items()}
    ran = {n: item for n, item in items.items() if item.status is not JobStatus.CANCELED}
    homeless = _move(services, batch, {names[n]: item.artifacts for n, item in ran.items()})
    for number, item in ran.items():
        error = UNWRITABLE if names[number] in homeless else item.error
        shards.put(number, _line(batch, known[number], item, error))
    for number in known.keys() - ran.keys():
        if number not in shards:
            error = never_ran(batch) if number in items else LOST
            shards.put(number, refusal(batch.id, known[number], error))
    shards.write(services.store, batch.id, place.chunk, place.opening)
    signatures = {job.id: signature(job.kind, [r.step for r in job.steps]) for job in jobs}
    closed = Closed(
        chunk=place.chunk,
        completed=len(shards.results),
        codes=Counter(line["error"]["code"] for line in shards.errors.values()),
        failures=list(shards.errors.values()),
        took=[(_run_ms(item), names[number]) for number, item in ran.items()],
        work=Counter(signatures[last[number].id] for number in ran),
        reused=len(taken),
        written=sum(artifact.bytes for item in ran.values() for artifact in item.artifacts),
    )
    closing = (place.chunk, place.opening, closed.completed, closed.failed, closed.codes)
    return closed if services.ledger.close_chunk(batch.id, *closing) else None


def _named(number: int, custom_id: str) -> Line:
    return {"number": number, "custom_id": custom_id}


def _line(batch: BatchRecord, source: Line, item: JobRecord, error: JobError | None) -> Line:
    shown = present.job(item, batch.base_url, None, now_ms=int(time.time() * 1000))
    said = {"code": error.code, "message": error.message} if error else None
    body = shown.model_dump(mode="json", exclude_unset=True)
    return outcome(batch.id, source["number"], source["custom_id"], body, said)


def _run_ms(item: JobRecord) -> int:
    return sum(record.output.run_ms for record in item.steps if record.output)


def _move(
    services: Services, batch: BatchRecord, made: Mapping[str, Sequence[Artifact]]
) -> set[str]:
    """Copy what the items made, by custom_id, to where it stays; those whose place may not be
    written. Raises NotFound where one is gone, StorageUnavailable."""
    homeless = set()

    def copy(each: tuple[str, Artifact]) -> None:
        custom_id, artifact = each
        bucket, key = picture_place(batch, custom_id, artifact.name)
        try:
            services.store.copy(artifact.key, key, bucket)
        except NotFound:
            if not services.store.exists(artifact.key):
                raise
            homeless.add(custom_id)

    listed = ((name, artifact) for name, artifacts in made.items() for artifact in artifacts)
    for _ in parallel_map(copy, listed, COPIES):
        pass
    return homeless
