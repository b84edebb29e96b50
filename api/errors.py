"""The only map from exceptions to HTTP: every error leaves as a problem document (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, json, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from shared import errors, logs
from shared.errors import ImagemillError, InvalidArchive, InvalidImage, InvalidRequest
from shared.queues import BrokerUnavailable

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 2
AWAY = "a part of the service does not answer now; try again, with the same Idempotency-Key"
DRAIN_BYTES = 256 * 2**20

STATUS: dict[type[ImagemillError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.InvalidRequest: 422,
    errors.InvalidImage: 422,
    errors.InvalidArchive: 422,
    errors.IdempotencyConflict: 422,
    errors.ModelNotAvailable: 422,
    errors.StorageUnavailable: 503,
    errors.LedgerUnavailable: 503,
    BrokerUnavailable: 503,
}
# The codes of errors that Flask raises itself; the others take the status's name.
CODES = {413: errors.TooLarge.code, 500: ImagemillError.code}

log = logs.get(__name__)


class InvalidImageField(InvalidImage):
    """An image of a request that cannot be used, named by its JSON pointer."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.errors = [{"pointer": pointer, "detail": detail}]


class InvalidArchiveField(InvalidArchive):
    """An archive of a request that cannot be used, named by its JSON pointer."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.errors = [{"pointer": pointer, "detail": detail}]


def problem(status: int, code: str, detail: str, **extra: Any) -> Response:
    """A problem document; `extra` members stand beside the usual ones."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    response = Response(
        json.dumps({**body, "code": code, "detail": detail, **extra}),
        status=status,
        mimetype=PROBLEM_JSON,
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def invalid(error: ValidationError, data: Any, prefix: str = "") -> InvalidRequest:
    """What pydantic says about `data`, by JSON pointer and without the values themselves."""
    found: dict[str, list[str]] = {}
    for entry in error.errors(include_url=False, include_input=False):
        loc, union = entry["loc"], entry["type"].startswith("union_tag")
        if union:  # of what tells the variants apart
            loc = (*loc, entry["ctx"]["discriminator"].strip("'"))
        pointer = prefix + _pointer(loc, data, "missing" if union else entry["type"])
        detail = _DETAILS.get((pointer, entry["type"]), entry["msg"])
        found.setdefault(pointer, []).append(detail)
    listed = [{"pointer": p, "detail": " or ".join(found[p])} for p in found]
    first = listed[0]
    return InvalidRequest(f"{first['pointer'] or '/'}: {first['detail']}", listed)


_DETAILS = {("/webhook", "extra_forbidden"): "webhooks are not available yet"}


def _pointer(loc: tuple[int | str, ...], data: Any, kind: str) -> str:
    """The location within the data; the names that pydantic gives to a union's branches go."""
    parts: list[str] = []
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(data, dict) and (part in data or (last and kind == "missing")):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part] if part < len(data) else None
        else:
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)


def refuse_parameters(error: ValidationError) -> Response:
    """For the framework: a query or header that does not fit."""
    named = {str(part) for entry in error.errors() for part in entry["loc"]}
    if named & set(request.headers.keys()):
        raise invalid(error, dict(request.headers), "/headers") from None
    raise invalid(error, dict(request.args), "/query") from None


def register(app: Flask) -> None:
    """Answer every exception with a problem document."""
    app.register_error_handler(ImagemillError, _own)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _own(error: ImagemillError) -> Response:
    status = next((STATUS[c] for c in type(error).__mro__ if c in STATUS), 500)
    if status >= 500:
        log.error("request failed", code=error.code, error=error.message)
    detail = AWAY if status == HTTPStatus.SERVICE_UNAVAILABLE else error.message
    listed = getattr(error, "errors", None)
    return problem(status, error.code, detail, **({"errors": listed} if listed else {}))


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect of the router
        return Response(status=status, headers=dict(error.get_headers()))
    if isinstance(error, RequestEntityTooLarge):
        _drain()
    code = CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    response = problem(status, code, error.description or HTTPStatus(status).phrase)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    log.exception("unexpected error", path=request.path, exc_info=error)
    return problem(500, ImagemillError.code, "an unexpected error; the server's log says more")


def _drain() -> None:
    """Take in the rest of a body, within limits: a client that is cut off sees no answer."""
    stream, left = request.environ["wsgi.input"], DRAIN_BYTES
    try:
        while left > 0 and (chunk := stream.read(min(left, 2**20))):
            left -= len(chunk)
    except OSError:
        return
