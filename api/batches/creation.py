"""From the body of `POST /v1/batches` to a batch in the ledger.

Everything that can be said without reading the source is checked here; the rest its keeper finds.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from api import uploads
from api.batches import outputs, template
from api.batches.requests import LinesRequest, PairsSource, Source, SourceRequest
from api.batches.sources import variables
from api.body import Body
from api.errors import invalid
from api.planning import Planner
from api.services import TENANT, Services
from api.submission import known_id
from shared import logs
from shared.batches import NewBatch
from shared.contracts import new_id
from shared.errors import InvalidRequest, NotFound
from shared.kind import kinds
from shared.ledger.records import Submitted

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

log = logs.get(__name__)


def create(services: Services, body: Body, base_url: str, key: str | None) -> Submitted:
    """Check and record it; `key` is its Idempotency-Key. On disk when this returns.

    Raises InvalidRequest, InvalidImage, IdempotencyConflict, StorageUnavailable,
    LedgerUnavailable.
    """
    if known := known_id(services, body, key):
        return Submitted(known, created=False)
    request = _parse(body.document)
    if library := outputs.missing(request.output_format):
        detail = f"this server cannot write {request.output_format}: it lacks {library}"
        raise InvalidRequest.at("/output_format", detail)
    document = request.model_dump(mode="json", exclude_none=True, exclude={"metadata", "paused"})
    if isinstance(request, LinesRequest):
        given = request.input_file_id
        files = {uploads.existing(services, given, "/input_file_id", uploads.BATCH).id}
    else:
        files = _check_source(services, request.source)
        _check_output(services, request.output)
        pictures = _check_template(services, request)
        document["job"]["input"] |= pictures
        files.update(pictures.values())
    window = request.completion_window
    new = NewBatch(
        id=new_id("batch"),
        tenant=TENANT,
        request=document,
        metadata=request.metadata,
        base_url=base_url,
        files=tuple(sorted(files)),
        start_paused=request.paused,
        retention_s=services.settings.retention_days * 86_400,
        completion_window_s=int(window[:-1]) * UNITS[window[-1]] if window else None,
    )
    created = services.ledger.create_batch(new, None if key is None else (key, body.digest))
    log.info("batch created", batch_id=created.job_id)
    return created


def _parse(document: Any) -> LinesRequest | SourceRequest:
    sourced = isinstance(document, dict) and bool(document.keys() & {"source", "job"})
    form = SourceRequest if sourced else LinesRequest
    try:
        return form.model_validate(document)
    except ValidationError as error:
        raise invalid(error, document) from None


def _check_source(services: Services, source: Source) -> set[str]:
    """Its files are here, and its places may be read. → the files."""
    files = set()
    for pointer, reference in _references(source, "/source"):
        if reference.startswith("file_"):
            files.add(uploads.existing(services, reference, pointer, uploads.BATCH).id)
        else:
            uploads.place(services, reference, pointer)
    return files


def _references(source: Source, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(source, PairsSource):
        yield from _references(source.first, f"{pointer}/first")
        yield from _references(source.second, f"{pointer}/second")
        return
    for name, value in source:
        listed = value if isinstance(value, list) else [value]
        for index, each in enumerate(listed):
            if isinstance(each, str) and each.startswith(("file_", "s3://")):
                yield f"{pointer}/{name}" + (f"/{index}" if listed is value else ""), each


def _check_output(services: Services, output: str | None) -> None:
    if output is None:
        return
    if not uploads.allowed(output, services.settings.s3_output_prefixes):
        raise InvalidRequest.at("/output", "not under a prefix that this service may write to")
    bucket, _, folder = output.removeprefix("s3://").partition("/")
    try:
        next(services.store.list(folder, bucket=bucket), None)
    except NotFound:
        detail = "there is no such bucket, or this service may not look into it"
        raise InvalidRequest.at("/output", detail) from None


def _check_template(services: Services, request: SourceRequest) -> dict[str, str]:
    """The template makes a job of any item; a picture that all items share is stored.

    → the file ids of such pictures, by fields of the input.
    """
    job = request.job.model_dump(mode="json")
    given = variables(request.source.model_dump(mode="json", exclude_none=True))
    _check_variables(job["input"], given)
    stand_ins = dict.fromkeys(template.names(job), "file_of_an_item")
    try:
        checked = Planner(services).check(template.fill(job, stand_ins))
    except InvalidRequest as error:
        raise _below("/job", error) from None
    stored = {}
    for name in kinds()[checked.kind.name].image_fields():
        reference = job["input"].get(name)
        if reference is None or template.names(reference):
            continue
        found = uploads.resolve(services, reference, f"/job/input/{name}")
        stored[name] = uploads.kept(services, found)
    return stored


def _check_variables(given: Mapping[str, Any], known: frozenset[str] | None) -> None:
    """No string is a lone variable that the source does not have."""
    if known is None:
        return
    if unknown := sorted(template.lone(given) - known):
        has = ", ".join(f"${name}" for name in sorted(known))
        raise InvalidRequest.at("/job/input", f"the source has no ${unknown[0]}; it has {has}")


def _below(prefix: str, error: InvalidRequest) -> InvalidRequest:
    """The same error with the pointers of a part of the request."""
    listed = [{**each, "pointer": prefix + each["pointer"]} for each in error.errors]
    return InvalidRequest(f"{listed[0]['pointer']}: {listed[0]['detail']}", listed)
