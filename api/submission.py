"""From the body of `POST /v1/jobs` to a job in the ledger."""

from collections.abc import Iterable, Mapping

from api import uploads
from api.body import Body
from api.planning import Checked, Planner
from api.services import TENANT, Services
from api.uploads import Upload
from shared import logs
from shared.contracts import FileRecord, JobRecord, NewJob, StepStatus, new_id
from shared.errors import (
    IdempotencyConflict,
    ImagemillError,
    InvalidRequest,
    LedgerUnavailable,
    NotFound,
)
from shared.kind import Size
from shared.ledger.records import Submitted

_File = FileRecord | Upload | str  # in the ledger, not yet stored, or a prefix of S3

log = logs.get(__name__)


def submit(services: Services, body: Body, idempotency_key: str | None) -> Submitted:
    """Check everything, store the pictures, record the job, ring for the workers.

    When this returns, the job is on disk. Raises InvalidRequest, InvalidImage,
    IdempotencyConflict, StorageUnavailable, LedgerUnavailable.
    """
    if known := known_id(services, body, idempotency_key):
        return Submitted(known, created=False)
    job = _plan(services, body)
    with logs.bound(job_id=job.id):
        submitted = _record(services, job, body, idempotency_key)
        if submitted.created:
            log.info("submitted", kind=job.kind, steps=len(job.steps))
            ring(services, [job.steps[0].queue(job.priority)])
    return submitted


def known_id(services: Services, body: Body, idempotency_key: str | None) -> str | None:
    """What an earlier request with this key made. Raises IdempotencyConflict where its body was
    another."""
    known = idempotency_key and services.ledger.find_idempotent(TENANT, idempotency_key)
    if not known:
        return None
    found, digest = known
    if digest != body.digest:
        raise IdempotencyConflict("the Idempotency-Key was used with another request")
    return found


def position(services: Services, job: JobRecord) -> int | None:
    """How many steps wait before this job's; None when it does not wait or nobody can say."""
    if job.steps[job.current].status is not StepStatus.QUEUED:
        return None
    try:
        return services.ledger.queue_position(job)
    except LedgerUnavailable:
        return None


def _plan(services: Services, body: Body) -> NewJob:
    checked = Planner(services).check(body.with_stand_ins())
    found = _files(services, body, checked)
    checked.check_sizes(_sizes(found), services.settings.max_pixels)
    files = _stored(services, found)
    given, steps = checked.planned(files)
    request = checked.request
    return NewJob(
        id=new_id("job"),
        tenant=TENANT,
        kind=checked.kind.name,
        priority=request.priority,
        input=given,
        steps=steps,
        files=tuple(dict.fromkeys(each for each in files.values() if each.startswith("file_"))),
        metadata=request.metadata,
        deadline_s=request.deadline_s,
        retention_s=services.settings.retention_days * 86_400,
    )


def _files(services: Services, body: Body, checked: Checked) -> dict[str, _File]:
    """Every picture and data set of the input, all of them good; none is stored yet."""
    files: dict[str, _File] = {}
    for name, reference in checked.references().items():
        pointer = f"/input/{name}"
        dataset = name in checked.kind.dataset_fields()
        look = uploads.look_into if dataset else uploads.look_at
        resolve = uploads.resolve_dataset if dataset else uploads.resolve
        if name in body.parts:
            files[name] = look(services, body.parts[name], pointer)
        else:
            files[name] = resolve(services, reference, pointer)
    return files


def _sizes(files: Mapping[str, _File]) -> dict[str, Size]:
    """Of the pictures among the files."""
    return {
        name: (file.width, file.height)
        for name, file in files.items()
        if not isinstance(file, str) and file.width and file.height
    }


def _stored(services: Services, files: Mapping[str, _File]) -> dict[str, str]:
    """The file id, or the prefix, of everything that was found, with what is new stored."""
    for upload in {file.id: file for file in files.values() if isinstance(file, Upload)}.values():
        uploads.store(services, upload)
    return {name: file if isinstance(file, str) else file.id for name, file in files.items()}


def _record(services: Services, job: NewJob, body: Body, key: str | None) -> Submitted:
    idempotency = None if key is None else (key, body.digest)
    try:
        return services.ledger.submit(job, idempotency)
    except NotFound as error:  # a file was deleted or has expired since it was looked up
        raise InvalidRequest(error.message) from None


def ring(services: Services, queues: Iterable[str]) -> None:
    """Let steps through that wait in these queues. Their jobs are safe by now, so that no trouble
    here matters: the reaper rings again."""
    try:
        services.broker.admit(queues)
    except ImagemillError as error:
        log.warning("could not ring for the workers", code=error.code, error=error.message)
    except Exception:
        log.exception("could not ring for the workers")
