"""From the body of `POST /v1/jobs` to a job in the ledger."""

import contextlib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from api import uploads
from api.body import Body
from api.errors import invalid
from api.schemas import job_request
from api.services import TENANT, Services
from shared import logs
from shared.contracts import JobRecord, NewJob, StepStatus, new_id
from shared.errors import (
    IdempotencyConflict,
    ImagemillError,
    InvalidRequest,
    LedgerUnavailable,
    NotFound,
)
from shared.kind import Kind, kinds
from shared.ledger.records import Submitted
from shared.models import TRAINED, ModelChoice, Registry
from shared.trained_models import TrainedModels

log = logs.get(__name__)


def submit(services: Services, body: Body, idempotency_key: str | None) -> Submitted:
    """Check everything, store the pictures, record the job, ring for the workers.

    When this returns, the job is on disk. Raises InvalidRequest, InvalidImage,
    IdempotencyConflict, StorageUnavailable, LedgerUnavailable.
    """
    if idempotency_key is not None:
        known = services.ledger.find_idempotent(TENANT, idempotency_key)
        if known is not None:
            job_id, digest = known
            if digest != body.digest:
                raise IdempotencyConflict("the Idempotency-Key was used with another request")
            return Submitted(job_id, created=False)
    job = _plan(services, body)
    with logs.bound(job_id=job.id):
        submitted = _record(services, job, body, idempotency_key)
        if submitted.created:
            log.info("submitted", kind=job.kind, steps=len(job.steps))
            _ring(services, job)
    return submitted


def position(services: Services, job: JobRecord) -> int | None:
    """How many steps wait before this job's; None when it does not wait or nobody can say."""
    if job.steps[job.current].status is not StepStatus.QUEUED:
        return None
    try:
        return services.ledger.queue_position(job)
    except LedgerUnavailable:
        return None


def _plan(services: Services, body: Body) -> NewJob:
    document = body.with_stand_ins()
    try:
        request = job_request().model_validate(document).root
    except ValidationError as error:
        raise invalid(error, document) from None
    kind = kinds()[request.kind]
    settings = services.settings
    given = kind.completed(request.input)
    models = {**kind.preset(given).models, **request.models}
    registry = _registry(services, {*models.items(), *kind.named_models(given)})
    choice = ModelChoice(registry, settings.profile, models, request.priority)
    kind.plan(given, choice)  # wrong models and languages, before any picture is read
    files = _files(services, body, kind, given)
    final = given.model_copy(update=files)
    return NewJob(
        id=new_id("job"),
        tenant=TENANT,
        kind=request.kind,
        priority=request.priority,
        input=final.model_dump(mode="json"),
        steps=tuple(kind.plan(final, choice)),
        files=tuple(dict.fromkeys(each for each in files.values() if each.startswith("file_"))),
        metadata=request.metadata,
        deadline_s=request.deadline_s,
        retention_s=settings.retention_days * 86_400,
    )


def _files(services: Services, body: Body, kind: Kind[Any], given: Any) -> dict[str, str]:
    """The file id, or the prefix, of every picture and data set of the input; all are good before
    the first is stored."""
    files: dict[str, str] = {}
    new: dict[str, uploads.Upload] = {}
    for name in kind.file_fields():
        reference, pointer = getattr(given, name), f"/input/{name}"
        if reference is None:
            continue
        dataset = name in kind.dataset_fields()
        look = uploads.look_into if dataset else uploads.look_at
        resolve = uploads.resolve_dataset if dataset else uploads.resolve
        found: str | uploads.Upload
        if name in body.parts:
            found = look(services, body.parts[name], pointer)
        else:
            found = resolve(services, reference, pointer)
        if isinstance(found, uploads.Upload):
            new[found.file_id] = found
            found = found.file_id
        files[name] = found
    for upload in new.values():
        uploads.store(services, upload)
    return files


def _registry(services: Services, named: Iterable[tuple[str, str]]) -> Registry:
    """The registered models; where others are named, as (family, name), those of them that were
    trained, and those that live workers serve, as well."""
    registry = services.registry
    unknown = [pair for pair in named if not registry.choice(*pair)]
    if not unknown:
        return registry
    trained = TrainedModels(services.store)
    for family, name in unknown:
        if registry.get(family, TRAINED):
            with contextlib.suppress(NotFound):
                files = trained.get(family, name).files
                registry = registry.trained(family, name, files)
    workers = services.ledger.workers()
    return registry.including((w.family, name) for w in workers for name in w.models)


def _record(services: Services, job: NewJob, body: Body, key: str | None) -> Submitted:
    idempotency = None if key is None else (key, body.digest)
    try:
        return services.ledger.submit(job, idempotency)
    except NotFound as error:  # a file was deleted or has expired since it was looked up
        raise InvalidRequest(error.message) from None


def _ring(services: Services, job: NewJob) -> None:
    """Let the first step through. The job is safe by now, so that no trouble here matters:
    the reaper rings again."""
    try:
        services.broker.admit([job.steps[0].queue(job.priority)])
    except ImagemillError as error:
        log.warning("could not ring for the workers", code=error.code, error=error.message)
    except Exception:
        log.exception("could not ring for the workers")
