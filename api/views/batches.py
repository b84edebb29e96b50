"""/v1/batches: many jobs asked for at once."""

import time
from collections.abc import Callable, Iterator
from typing import Literal

from flask import Response, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api import batch_schemas, body, present_batch
from api.batches import creation, joining
from api.batches.forecast import forecast as foretell
from api.batches.outputs import names
from api.batches.report import POLICY
from api.batches.report import report as describe
from api.batches.requests import BatchRequest
from api.batches.shards import JSON_LINES
from api.replies import begun, documented, problems, reply
from api.services import TENANT, services
from api.views.jobs import KeyHeaders
from shared.batches import BatchRecord
from shared.errors import NotFound
from shared.layout import joined_key, output_place

api = APIBlueprint("batches", __name__, url_prefix="/v1/batches", abp_tags=[Tag(name="batches")])


class BatchPath(BaseModel):
    batch_id: str = Field(description="`batch_…`")


class OutputPath(BatchPath):
    name: str = Field(description="`results.parquet`, or `shards/000000.tar` and so on.")


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, description="`last_id` of the page before.")


_BODY, _SCHEMAS = documented(BatchRequest)
api.components_schemas.update(_SCHEMAS)
_CHANGED = {200: batch_schemas.Batch, **problems(404, 409)}
_LINES = {
    200: {
        "description": "One line an item, in the order of the source",
        "content": {JSON_LINES: {"schema": {"type": "string"}}},
    },
    **problems(404),
}

_FILE = {
    200: {
        "description": "The file",
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    },
    **problems(404),
}

_PAGE = {
    200: {
        "description": "A page without scripts",
        "content": {"text/html": {"schema": {"type": "string"}}},
    },
    **problems(404),
}


@api.post(
    "",
    request_body=_BODY,
    responses={201: batch_schemas.Batch, **problems(400, 413, 415)},
    operation_id="createBatch",
)
def create(header: KeyHeaders) -> Response:
    """Run a job for every line of a file, or for every item of a source. Once this answers 201
    the batch is on disk; what is wrong with the source shows when it is `validating`."""
    created = creation.create(services(), body.read_json(request), request.url_root, header.key)
    record = services().ledger.batch(created.job_id)
    headers = {"Location": f"{request.url_root}v1/batches/{record.id}"}
    if not created.created:
        headers["Idempotent-Replayed"] = "true"
    return _shown(record, 201, headers)


@api.get("", responses={200: batch_schemas.BatchList, **problems(404)}, operation_id="listBatches")
def listing(query: ListQuery) -> Response:
    """List batches, newest first."""
    page = services().ledger.batches(TENANT, limit=query.limit, after=query.after or None)
    data = [_present(record) for record in page.batches]
    return reply(
        batch_schemas.BatchList(
            object="list",
            data=data,
            first_id=data[0].id if data else None,
            last_id=page.next or (data[-1].id if data else None),
            has_more=page.next is not None,
        )
    )


@api.get(
    "/<batch_id>", responses={200: batch_schemas.Batch, **problems(404)}, operation_id="getBatch"
)
def show(path: BatchPath) -> Response:
    """One batch."""
    return _shown(_find(path.batch_id))


@api.post("/<batch_id>/cancel", responses=_CHANGED, operation_id="cancelBatch")
def cancel(path: BatchPath) -> Response:
    """Cancel a batch: what has ended is kept, the rest ends as `batch_cancelled`."""
    return _changed(path, services().ledger.cancel_batch)


@api.post("/<batch_id>/pause", responses=_CHANGED, operation_id="pauseBatch")
def pause(path: BatchPath) -> Response:
    """Start no more items; those that run go on to their end."""
    return _changed(path, services().ledger.pause_batch)


@api.post("/<batch_id>/resume", responses=_CHANGED, operation_id="resumeBatch")
def resume(path: BatchPath) -> Response:
    """Let a paused batch go on."""
    return _changed(path, services().ledger.resume_batch)


@api.post("/<batch_id>/retry", responses=_CHANGED, operation_id="retryBatch")
def retry(path: BatchPath) -> Response:
    """Do the failed items of an ended batch again, and those that were never started."""
    return _changed(path, services().ledger.retry_batch)


@api.get(
    "/<batch_id>/forecast",
    responses={200: batch_schemas.Forecast, **problems(404)},
    operation_id="getBatchForecast",
)
def forecast(path: BatchPath) -> Response:
    """How long what is left will take and what it needs, by what was measured; and how right
    such forecasts were."""
    return reply(foretell(services(), _find(path.batch_id), now_ms=int(time.time() * 1000)))


@api.get("/<batch_id>/report", responses=_PAGE, operation_id="getBatchReport")
def report(path: BatchPath) -> Response:
    """The batch on one page, which needs nothing else: how far it is, what went wrong, a sample of
    its items."""
    page = describe(services(), _find(path.batch_id), now_ms=int(time.time() * 1000))
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(page, mimetype="text/html", headers=headers)


@api.delete("/<batch_id>", responses={204: None, **problems(404)}, operation_id="deleteBatch")
def delete(path: BatchPath) -> Response:
    """End a batch and erase it; its two files and what lies under its `output` stay."""
    services().ledger.delete_batch(_find(path.batch_id).id)
    return Response(status=204)


@api.get("/<batch_id>/results", responses=_LINES, operation_id="getBatchResults")
def results(path: BatchPath) -> Response:
    """The results so far."""
    record = _find(path.batch_id)
    return _lines(record, "results", record.output_file_id)


@api.get("/<batch_id>/errors", responses=_LINES, operation_id="getBatchErrors")
def errors(path: BatchPath) -> Response:
    """The errors so far."""
    record = _find(path.batch_id)
    return _lines(record, "errors", record.error_file_id)


@api.get("/<batch_id>/outputs/<path:name>", responses=_FILE, operation_id="getBatchOutput")
def output(path: OutputPath) -> Response:
    """A file over all items of an ended batch, in the format that was asked for."""
    record = _find(path.batch_id)
    media_type = names.media_type(record, path.name)
    bucket, key = output_place(record, path.name)
    size = services().store.head(key, bucket).bytes
    blocks = begun(services().store.stream(key, bucket))
    return Response(blocks, mimetype=media_type, headers={"Content-Length": str(size)})


def _lines(
    record: BatchRecord, which: Literal["results", "errors"], file_id: str | None
) -> Response:
    """Of an ended batch what its file holds, else the lines of the chunks that are done."""
    blocks: Iterator[bytes]
    if not record.status.terminal:
        blocks = joining.so_far(services(), record, which)
    elif file_id:
        blocks = services().store.stream(joined_key(record.id, which))
    else:
        blocks = iter(())
    return Response(begun(blocks), mimetype=JSON_LINES)


def _changed(path: BatchPath, change: Callable[[str], BatchRecord]) -> Response:
    return _shown(change(_find(path.batch_id).id))


def _find(batch_id: str) -> BatchRecord:
    record = services().ledger.batch(batch_id)
    if record.tenant != TENANT:
        raise NotFound(f"no such batch: {batch_id}")
    return record


def _shown(
    record: BatchRecord, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return reply(_present(record), status, headers)


def _present(record: BatchRecord) -> batch_schemas.Batch:
    return present_batch.batch(record, request.url_root, now_ms=int(time.time() * 1000))
