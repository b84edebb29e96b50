"""A batch as its user sees it."""

from datetime import UTC, datetime
from typing import Any

from api import batch_schemas as schemas
from api.batches.outputs import names
from api.batches.schedule import Schedule
from api.present import seconds
from shared.batches import BatchRecord, BatchStatus

TIMES = (
    "created_at",
    "in_progress_at",
    "paused_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
ASKED = ("source", "job", "output", "start_at", "window", "timezone")
RECENT_MS = 60_000
WAITING = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.PAUSED)


def batch(record: BatchRecord, base_url: str, now_ms: int) -> schemas.Batch:
    """`base_url` is the API's own address, with a slash at its end."""
    request, counts = record.request, record.counts
    url = f"{base_url}v1/batches/{record.id}"
    rate = _rate(record, now_ms)
    times: dict[str, Any] = {name: seconds(getattr(record, name)) for name in TIMES}
    asked: dict[str, Any] = {name: request.get(name) for name in ASKED}
    return schemas.Batch(
        id=record.id,
        object="batch",
        endpoint=request.get("endpoint", "/v1/jobs"),
        input_file_id=request.get("input_file_id"),
        completion_window=request.get("completion_window"),
        status=record.status,
        request_counts=schemas.RequestCounts(
            total=counts.total or 0, completed=counts.completed, failed=counts.failed
        ),
        output_file_id=record.output_file_id,
        error_file_id=record.error_file_id,
        errors=_problems(record),
        **times,
        expires_at=seconds(record.deadline_at),
        erased_at=seconds(record.expires_at),
        metadata=record.metadata,
        **asked,
        output_format=request.get("output_format", "jsonl"),
        outputs=_outputs(record, url),
        next_start=_next_start(record, now_ms),
        paused_by=record.paused_by,
        rate=rate,
        eta_s=_eta_s(record, rate),
        error_codes=record.error_codes,
        urls=schemas.BatchUrls(self=url, results=f"{url}/results", errors=f"{url}/errors"),
    )


def _outputs(record: BatchRecord, url: str) -> schemas.BatchOutputs | None:
    told = record.notes.get("outputs")
    if told is None or not record.status.terminal:
        return None
    name = names.all_of(told)
    place = record.request.get("output") or f"{url}/outputs/"
    return schemas.BatchOutputs(
        format=told["format"],
        url=place + name if name else None,
        items=told.get("items", 0),
        bytes=told.get("bytes", 0),
        error=told.get("error"),
    )


def _problems(record: BatchRecord) -> schemas.BatchProblems | None:
    if not record.problems:
        return None
    listed: list[Any] = [problem.model_dump() for problem in record.problems]
    return schemas.BatchProblems(
        object="list", data=[schemas.BatchProblemView(**each) for each in listed]
    )


def _next_start(record: BatchRecord, now_ms: int) -> int | None:
    if record.status not in WAITING:
        return None
    start = Schedule.of(record.request).next_start(datetime.fromtimestamp(now_ms / 1000, UTC))
    return None if start is None else int(start.timestamp())


def _rate(record: BatchRecord, now_ms: int) -> float | None:
    """Items a second: in the last minute or two while it runs, over all of it once it has run."""
    done = record.counts.completed + record.counts.failed
    since, before = record.in_progress_at, 0
    if record.status is BatchStatus.IN_PROGRESS:
        for moment, completed, failed in record.notes.get("points", []):
            if moment <= now_ms - RECENT_MS:
                since, before = moment, completed + failed
    until = record.finalizing_at or record.paused_at or now_ms
    if since is None or until <= since or done <= before:
        return None
    return round((done - before) * 1000 / (until - since), 3)


def _eta_s(record: BatchRecord, rate: float | None) -> float | None:
    if record.status is not BatchStatus.IN_PROGRESS or not rate or record.counts.total is None:
        return None
    left = record.counts.total - record.counts.completed - record.counts.failed
    return round(left / rate, 1)
