"""Answers of the views, and how they stand in the OpenAPI document."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from flask import Response, json
from flask_openapi.utils import parse_body
from pydantic import BaseModel

from api.errors import PROBLEM_JSON

_PROBLEM = {"content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_REASONS = {
    400: "The body is not valid JSON",
    404: "No such thing",
    409: "Not possible in the state that it is in",
    413: "The body is over MAX_UPLOAD_MB, or MAX_BATCH_MB for a file of a batch",
    415: "A media type that is not understood here",
    422: "The request does not fit; `errors` says where",
    503: "A part of the service is away; try again, with the same Idempotency-Key",
}


def problems(*statuses: int) -> dict[Any, Any]:
    """The documented errors of a route; those that every route may have are among them."""
    listed: dict[Any, Any] = {
        status: {"description": _REASONS[status], **_PROBLEM}
        for status in sorted({422, 503, *statuses})
    }
    return {**listed, "default": {"description": "Any other error", **_PROBLEM}}


def reply(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; fields that were never set are left out."""
    text = json.dumps(body.model_dump(mode="json", exclude_unset=True))
    return Response(text, status=status, headers=headers, mimetype="application/json")


def documented(body: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A JSON body's place in the OpenAPI document, and the schemas that it refers to."""
    content, schemas = parse_body(body)
    forms = {name: form.model_dump(by_alias=True) for name, form in content.items()}
    return {"required": True, "content": forms}, schemas


def begun(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks with the first one read, so that what that raises is still a problem."""
    return chain([next(blocks, b"")], blocks)
