"""The body of OpenAI's `POST /v1/images/generations` as a job, and the job as its answer.

Field names as in OpenAI's API reference. What has no counterpart here and asks for nothing that a
caller would miss (`quality`, `style`, `moderation`) is taken and has no effect.
"""

import base64
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import invalid
from shared.batches import BatchRecord
from shared.errors import NotFound
from shared.kind import Text
from shared.layout import picture_place
from shared.object_store import ObjectStore

ENDPOINT = "/v1/images/generations"
KIND = "generate"
SIZE = r"^(auto|[1-9]\d{0,3}x[1-9]\d{0,3})$"


class ImageRequest(BaseModel):
    """What is understood of the body; other fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    prompt: Text
    model: str | None = None
    n: int | None = Field(default=None, ge=1, le=10)
    size: str | None = Field(default=None, pattern=SIZE)
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png"] | None = None
    background: Literal["auto", "opaque"] | None = None
    quality: str | None = None
    style: str | None = None
    moderation: str | None = None
    user: str | None = None
    safety_identifier: str | None = None


def job_document(body: Any) -> dict[str, Any]:
    """The body of `POST /v1/jobs` that draws what OpenAI's body asks for.

    The job's metadata keep what its answer needs. Raises InvalidRequest.
    """
    try:
        request = ImageRequest.model_validate(body)
    except ValidationError as error:
        raise invalid(error, body) from None
    drawn: dict[str, Any] = {"prompt": request.prompt, "n": request.n or 1}
    if request.size and request.size != "auto":
        drawn["width"], drawn["height"] = map(int, request.size.split("x"))
    kept = request.model_dump(
        include={"response_format", "user", "safety_identifier"}, exclude_none=True
    )
    return {
        "kind": KIND,
        "input": drawn,
        "models": {"diffuser": request.model} if request.model else {},
        "metadata": kept,
    }


def result_line(store: ObjectStore, batch: BatchRecord, line: dict[str, Any]) -> dict[str, Any]:
    """A line of the batch's results or errors with OpenAI's answer in place of the job.

    Pictures are read from the store where their bytes were asked for. Raises StorageUnavailable.
    """
    if line["response"] is None:
        return line
    if line["error"] is not None:
        return {**line, "response": None}
    job = line["response"]["body"]
    finished = datetime.fromisoformat(job["finished_at"])
    as_bytes = job["metadata"].get("response_format") == "b64_json"
    images = job["outputs"]["images"]
    data = [_shown(store, batch, line["custom_id"], image, as_bytes) for image in images]
    body = {"created": int(finished.timestamp()), "data": data}
    return {**line, "response": {**line["response"], "body": body}}


def _shown(
    store: ObjectStore, batch: BatchRecord, custom_id: str, image: dict[str, Any], as_bytes: bool
) -> dict[str, str]:
    """The picture's bytes, or its address; that too where its owner has erased it meanwhile."""
    if as_bytes:
        bucket, key = picture_place(batch, custom_id, image["name"])
        with suppress(NotFound):
            data = store.read_range(key, 0, image["bytes"], bucket)
            return {"b64_json": base64.b64encode(data).decode()}
    return {"url": image["url"]}
