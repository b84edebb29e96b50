"""From the body of `POST /v1/jobs` to a job in the ledger."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Request
from pydantic import ValidationError
from pydantic_core import from_json
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from api import uploads
from api.errors import invalid
from api.schemas import job_request
from api.services import TENANT, Services
from shared import logs
from shared.contracts import JobRecord, NewJob, new_id
from shared.errors import IdempotencyConflict, ImagemillError, InvalidRequest, NotFound
from shared.kind import kinds
from shared.ledger import Submitted
from shared.models import ModelChoice

MULTIPART = "multipart/form-data"
JOB_PART = "job"

log = logs.get(__name__)


@dataclass(frozen=True)
class Body:
    """A submission as it arrived: the JSON document and, of a multipart request, the files."""

    document: Any
    parts: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Equal for equal submissions, however their JSON is written."""
        text = json.dumps(self.document, sort_keys=True, separators=(",", ":"))
        hashed = hashlib.sha256(text.encode())
        for name in sorted(self.parts):
            hashed.update(f"\n{name}:{hashlib.sha256(self.parts[name]).hexdigest()}".encode())
        return hashed.hexdigest()


def read(request: Request) -> Body:
    """Read the body. Raises BadRequest, UnsupportedMediaType, InvalidRequest."""
    if request.mimetype == MULTIPART:
        return _read_multipart(request)
    if request.mimetype == "application/json" or request.mimetype.endswith("+json"):
        return Body(_parse(request.get_data()))
    raise UnsupportedMediaType(f"send application/json or {MULTIPART}")


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
        submitted = _record(services, job, idempotency_key and (idempotency_key, body.digest))
        if submitted.created:
            log.info("submitted", kind=job.kind, steps=len(job.steps))
            _ring(services, job)
    return submitted


def position(services: Services, job: JobRecord) -> int | None:
    """How many steps wait before this job's; None when it does not wait."""
    return None if job.status.terminal else services.ledger.queue_position(job)


def _plan(services: Services, body: Body) -> NewJob:
    document = _with_parts(body)
    try:
        request: Any = job_request().model_validate(document).root  # type: ignore[attr-defined]
    except ValidationError as error:
        raise invalid(error, document) from None
    kind = kinds()[request.kind]
    settings = services.settings
    choice = ModelChoice(services.registry, settings.profile, request.models, request.priority)
    kind.plan(request.input, choice)  # wrong models and languages, before any picture is read

    names = [name for name in kind.image_fields() if getattr(request.input, name) is not None]
    files: dict[str, str] = {}
    pictures: dict[str, uploads.Upload] = {}
    for name in names:
        pointer = f"/input/{name}"
        found = (
            uploads.look_at(services, body.parts[name], pointer)
            if name in body.parts
            else uploads.resolve(services, getattr(request.input, name), pointer)
        )
        if isinstance(found, uploads.Upload):
            pictures[found.file_id] = found
            files[name] = found.file_id
        else:
            files[name] = found
    for picture in pictures.values():
        uploads.store(services, picture)

    final = kind.seeded(request.input.model_copy(update=files))
    return NewJob(
        id=new_id("job"),
        tenant=TENANT,
        kind=request.kind,
        priority=request.priority,
        input=final.model_dump(mode="json"),
        steps=tuple(kind.plan(final, choice)),
        files=tuple(dict.fromkeys(files.values())),
        metadata=request.metadata,
        deadline_s=request.deadline_s,
        retention_s=settings.retention_days * 86_400,
    )


def _record(services: Services, job: NewJob, idempotency: Any) -> Submitted:
    try:
        return services.ledger.submit(job, idempotency or None)
    except NotFound as error:  # deleted or expired since it was looked up
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


def _parse(data: bytes | str) -> Any:
    try:
        document = from_json(data, allow_inf_nan=False)
        json.dumps(document, allow_nan=False)  # 1e999 passes as infinity
    except ValueError as error:
        raise BadRequest(f"not valid JSON: {error}") from None
    return document


def _read_multipart(request: Request) -> Body:
    job: str | bytes | None = None
    parts: dict[str, bytes] = {}
    for name, value in request.form.items(multi=True):
        if name != JOB_PART:
            raise InvalidRequest.at(f"/{name}", "no such field; pictures are sent as files")
        if job is not None:
            raise InvalidRequest.at(f"/{name}", "given twice")
        job = value
    for name, file in request.files.items(multi=True):
        if name in parts or (name == JOB_PART and job is not None):
            raise InvalidRequest.at(f"/{name}", "given twice")
        if name == JOB_PART:
            job = file.read()
        else:
            parts[name] = file.read()
    if job is None:
        raise InvalidRequest.at(f"/{JOB_PART}", "the part is missing")
    return Body(_parse(job), parts)


def _with_parts(body: Body) -> Any:
    """The document with a stand-in reference for every picture that came as a part."""
    document = body.document
    if not body.parts or not isinstance(document, dict):
        return document
    given = document.get("input", {})
    kind = kinds().get(document.get("kind", "")) if isinstance(document.get("kind"), str) else None
    if kind is None or not isinstance(given, dict):
        return document
    for name in body.parts:
        if name not in kind.image_fields():
            raise InvalidRequest.at(f"/{name}", f"{kind.name} has no picture of this name")
        if name in given:
            raise InvalidRequest.at(f"/input/{name}", "given twice: here and as a part")
    return {**document, "input": {**given, **{name: f"part:{name}" for name in body.parts}}}
