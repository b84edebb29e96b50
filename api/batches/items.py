"""The items of a batch as jobs: from its open chunks while they run, from S3 before and after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api import present, schemas
from api.batches import openai_images
from api.batches.shards import Shards, numbers, source_lines
from api.services import TENANT, Services
from shared.batches import BatchRecord, BatchStatus
from shared.contracts import CHUNK, Artifact, JobRecord, JobStatus
from shared.errors import NotFound
from shared.item_jobs import item_job_id, of_item, parse_item_job_id
from shared.layout import picture_place

# What becomes of an item that was never opened, by the batch's end.
NEVER_OPENED = {
    BatchStatus.CANCELLED: JobStatus.CANCELED,
    BatchStatus.EXPIRED: JobStatus.EXPIRED,
}


@dataclass(frozen=True)
class Place:
    """Where a file that an item made lies now; `bucket` is empty for the service's own."""

    bucket: str
    key: str
    media_type: str


@dataclass(frozen=True)
class ItemJob:
    """An item as a job, and the files that it made by name."""

    view: schemas.Job
    files: Mapping[str, Place] = field(default_factory=dict)


def find(services: Services, job_id: str, now_ms: int) -> ItemJob | None:
    """The item of this id; None where it is the id of another job.

    Raises NotFound, StorageUnavailable, LedgerUnavailable.
    """
    named = parse_item_job_id(job_id)
    if named is None:
        return None
    batch_id, number = named
    batch = _batch(services, batch_id)
    if number >= (batch.counts.total or 0):
        raise NotFound(f"no such job: {job_id}")
    return _chunk(services, batch, number // CHUNK, now_ms)[number]


def page(
    services: Services, batch_id: str, after: int, limit: int, now_ms: int
) -> tuple[list[schemas.Job], int | None]:
    """The jobs of the items after this number, in input order, and the last one's number where
    more follow. Raises NotFound, StorageUnavailable, LedgerUnavailable."""
    batch = _batch(services, batch_id)
    total = batch.counts.total or 0
    wanted = range(after + 1, min(after + 1 + limit, total))
    chunks = {number // CHUNK for number in wanted}
    found: dict[int, ItemJob] = {}
    for chunk in sorted(chunks):
        found |= _chunk(services, batch, chunk, now_ms)
    return [found[number].view for number in wanted], wanted[-1] if wanted.stop < total else None


def _batch(services: Services, batch_id: str) -> BatchRecord:
    batch = services.ledger.batch(batch_id)
    if batch.tenant != TENANT:
        raise NotFound(f"no such batch: {batch_id}")
    return batch


def _chunk(services: Services, batch: BatchRecord, chunk: int, now_ms: int) -> dict[int, ItemJob]:
    """Every item of a chunk, by number."""
    # The shards are read after the jobs: whoever closes the chunk between leaves them there.
    running = _open(services, batch, chunk, now_ms)
    opened = batch.open.get(chunk)
    shards = Shards.read(services.store, batch.id, chunk, opened.opening if opened else None)
    ended = {
        number: _ended(batch, number, line)
        for number, line in (shards.results | shards.errors).items()
    }
    known = ended | running
    if any(number not in known for number in numbers(batch, chunk)):
        lines = source_lines(services.store, batch.id, chunk)
        known = {line["number"]: _waiting(batch, line) for line in lines} | known
    return known


def _open(services: Services, batch: BatchRecord, chunk: int, now_ms: int) -> dict[int, ItemJob]:
    opened = batch.open.get(chunk)
    found: dict[int, ItemJob] = {}
    for job_id in (opened.jobs or ()) if opened else ():
        try:
            job = services.ledger.get(job_id)
        except NotFound:  # the chunk was closed meanwhile
            continue
        # Of an item whose job was split the later job counts.
        found |= {number: _running(of_item(job, number), batch, now_ms) for number in _of(job)}
    return found


def _of(job: JobRecord) -> list[int]:
    if job.items:
        return [item.number for item in job.items]
    return [job.batch.number] if job.batch and job.batch.number is not None else []


def _running(job: JobRecord, batch: BatchRecord, now_ms: int) -> ItemJob:
    def place(made: Artifact) -> Place:
        return Place("", made.key, made.media_type)

    view = present.job(job, batch.base_url, None, now_ms)
    return ItemJob(view, {made.name: place(made) for made in job.artifacts})


def _ended(batch: BatchRecord, number: int, line: Mapping[str, Any]) -> ItemJob:
    if line["response"] is None:
        return _without_job(batch, number, line, JobStatus.FAILED)
    view = schemas.Job.model_validate(line["response"]["body"])
    files = {
        made.name: Place(*picture_place(batch, line["custom_id"], made.name), made.media_type)
        for made in view.outputs.artifacts
    }
    return ItemJob(view, files)


def _waiting(batch: BatchRecord, line: Mapping[str, Any]) -> ItemJob:
    status = NEVER_OPENED.get(batch.ends_as, JobStatus.QUEUED)
    refused = "error" in line
    return _without_job(batch, line["number"], line, JobStatus.FAILED if refused else status)


def _without_job(
    batch: BatchRecord, number: int, line: Mapping[str, Any], status: JobStatus
) -> ItemJob:
    """An item of which no job was made: not yet, or never."""
    url = f"{batch.base_url}v1/jobs/{item_job_id(batch.id, number)}"
    error = line.get("error")
    view = schemas.Job(
        id=item_job_id(batch.id, number),
        kind=_kind(batch, line),
        status=status,
        created_at=present.time(batch.created_at),
        started_at=None,
        finished_at=None,
        expires_at=None,
        steps=[],
        progress=schemas.Progress(value=0, message="", metrics={}),
        queue_position=None,
        eta_s=None,
        outputs=schemas.Outputs(images=[], artifacts=[]),
        error=schemas.JobErrorView(code=error["code"], message=error["message"], step=None)
        if error
        else None,
        metadata={},
        urls=schemas.Urls(self=url, cancel=f"{url}/cancel", preview=None),
    )
    return ItemJob(view)


def _kind(batch: BatchRecord, line: Mapping[str, Any]) -> str:
    """The kind that was asked for, as far as that can be read."""
    if batch.request.get("endpoint") == openai_images.ENDPOINT:
        return openai_images.KIND
    asked = batch.request.get("job") or line.get("body")
    kind = asked.get("kind") if isinstance(asked, dict) else None
    return kind if isinstance(kind, str) else ""
