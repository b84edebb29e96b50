"""Answers of the views, and how they stand in the OpenAPI document."""

from typing import Any

from flask import Response, json
from pydantic import BaseModel

from api.errors import PROBLEM_JSON

_PROBLEM = {"content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_REASONS = {
    400: "The body is not valid JSON",
    404: "No such thing",
    413: "The body is over MAX_UPLOAD_MB",
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
