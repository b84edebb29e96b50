"""A body as it arrives: a JSON document; of `POST /v1/jobs` perhaps with files as parts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Request
from pydantic_core import from_json
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from api import replies
from api.schemas import job_request
from shared.errors import InvalidRequest
from shared.kind import kinds

JSON = "application/json"
MULTIPART = "multipart/form-data"
JOB_PART = "job"


@dataclass(frozen=True)
class Body:
    """The JSON document and, of a multipart request, its files by name."""

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

    def with_stand_ins(self) -> Any:
        """The document with a stand-in reference for every file that came as a part.

        Raises InvalidRequest where the kind has no such file, or it is given twice.
        """
        document = self.document
        if not self.parts or not isinstance(document, dict):
            return document
        name, given = document.get("kind"), document.get("input", {})
        kind = kinds().get(name) if isinstance(name, str) else None
        if kind is None or not isinstance(given, dict):
            return document  # is refused for that
        for part in self.parts:
            if part not in kind.file_fields():
                raise InvalidRequest.at(f"/{part}", f"{kind.name} has no file of this name")
            if part in given:
                raise InvalidRequest.at(f"/input/{part}", "given twice: here and as a part")
        return {**document, "input": {**given, **{part: f"part:{part}" for part in self.parts}}}


def refuse_overlong(request: Request) -> None:
    """Refuse a body of unstated length that is over the limit, where it would only be cut.

    Raises RequestEntityTooLarge.
    """
    if request.content_length is None and "Transfer-Encoding" in request.headers:
        if request.mimetype == MULTIPART:
            request.form  # noqa: B018 - reads the body
        else:
            request.get_data()
        if request.environ["wsgi.input"].read(1):
            raise RequestEntityTooLarge


def read(request: Request) -> Body:
    """Read the body. Raises BadRequest, UnsupportedMediaType, InvalidRequest."""
    if request.mimetype == MULTIPART:
        return _multipart(request)
    if request.mimetype == JSON:
        return read_json(request)
    raise UnsupportedMediaType(f"send {JSON} or {MULTIPART}")


def read_json(request: Request) -> Body:
    """Read a body that is JSON. Raises BadRequest, UnsupportedMediaType."""
    if request.mimetype != JSON:
        raise UnsupportedMediaType(f"send {JSON}")
    return Body(_parse(request.get_data()))


def _parse(data: bytes | str) -> Any:
    try:
        document = from_json(data, allow_inf_nan=False)
        json.dumps(document, allow_nan=False)  # 1e999 passes as infinity
    except ValueError as error:
        raise BadRequest(f"not valid JSON: {error}") from None
    return document


def _multipart(request: Request) -> Body:
    parts: dict[str, str | bytes] = {}
    for name, value in request.form.items(multi=True):
        if name != JOB_PART:
            raise InvalidRequest.at(f"/{name}", "no such field; pictures are sent as files")
        _add(parts, name, value)
    for name, file in request.files.items(multi=True):
        _add(parts, name, file.read())
    if JOB_PART not in parts:
        raise InvalidRequest.at(f"/{JOB_PART}", "the part is missing")
    document = _parse(parts.pop(JOB_PART))
    return Body(document, {name: data for name, data in parts.items() if isinstance(data, bytes)})


def _add(parts: dict[str, str | bytes], name: str, data: str | bytes) -> None:
    if name in parts:
        raise InvalidRequest.at(f"/{name}", "given twice")
    parts[name] = data


def documented() -> tuple[dict[str, Any], dict[str, Any]]:
    """The body's place in the OpenAPI document, and the schemas that it refers to."""
    body, schemas = replies.documented(job_request())
    files = sorted({name for kind in kinds().values() for name in kind.file_fields()})
    binary = {"type": "string", "format": "binary"}
    body["content"][MULTIPART] = {
        "schema": {
            "type": "object",
            "required": [JOB_PART],
            "description": "One part for each picture or data set of the input, named after it.",
            "properties": {
                JOB_PART: {"$ref": "#/components/schemas/JobRequest"},
                **dict.fromkeys(files, binary),
            },
            "additionalProperties": False,
        },
        "encoding": {JOB_PART: {"contentType": "application/json"}},
    }
    return body, schemas
