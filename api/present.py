"""Records of the ledger as clients see them."""

from datetime import UTC, datetime
from typing import Any, overload
from urllib.parse import quote

from api import schemas
from shared.contracts import (
    Artifact,
    FileRecord,
    JobRecord,
    JobStatus,
    StepRecord,
    StepStatus,
    WorkerRecord,
)

BATCH_PURPOSES = ("batch", "batch_output")


@overload
def time(ms: int) -> str: ...
@overload
def time(ms: None) -> None: ...
def time(ms: int | None) -> str | None:
    """Milliseconds since the epoch as RFC 3339, UTC."""
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@overload
def seconds(ms: int) -> int: ...
@overload
def seconds(ms: None) -> None: ...
def seconds(ms: int | None) -> int | None:
    """Milliseconds since the epoch as seconds."""
    return None if ms is None else ms // 1000


def file(record: FileRecord) -> schemas.File:
    moment = seconds if record.purpose in BATCH_PURPOSES else time
    return schemas.File(
        id=record.id,
        object="file",
        purpose=record.purpose,
        filename=record.filename or record.id,
        status="processed",
        bytes=record.bytes,
        sha256=record.sha256,
        media_type=record.media_type,
        width=record.width,
        height=record.height,
        created_at=moment(record.created_at),
        expires_at=moment(record.expires_at),
    )


def job(record: JobRecord, base_url: str, queue_position: int | None, now_ms: int) -> schemas.Job:
    """`base_url` is the API's own address, with a slash at its end."""
    url = f"{base_url}v1/jobs/{record.id}"
    error = record.error
    return schemas.Job(
        id=record.id,
        kind=record.kind,
        status=record.status,
        created_at=time(record.created_at),
        started_at=time(record.started_at),
        finished_at=time(record.finished_at),
        expires_at=time(record.expires_at),
        steps=[_step(step) for step in record.steps],
        progress=_progress(record),
        queue_position=queue_position,
        eta_s=_eta_s(record, now_ms),
        outputs=_outputs(record, url),
        error=schemas.JobErrorView(**error.model_dump()) if error else None,
        metadata=record.metadata,
        urls=schemas.Urls(
            self=url,
            cancel=f"{url}/cancel",
            preview=f"{url}/preview" if _running(record) else None,
        ),
    )


def worker(record: WorkerRecord) -> schemas.WorkerView:
    fields = record.model_dump(include=set(schemas.WorkerView.model_fields))
    return schemas.WorkerView(**{**fields, "started_at": time(record.started_at)})


def _step(record: StepRecord) -> schemas.StepView:
    step, output = record.step, record.output
    return schemas.StepView(
        name=step.name,
        family=step.family,
        model=step.model,
        revision=(output.revision or None) if output else None,
        status=record.status,
        attempts=record.attempts,
        queue_ms=_between(record.queued_at, record.started_at),
        run_ms=output.run_ms if output else _between(record.started_at, record.finished_at),
        batch_class=output.batch_class if output else step.batch_class,
    )


def _between(start: int | None, end: int | None) -> int | None:
    return None if start is None or end is None else max(0, end - start)


def _progress(record: JobRecord) -> schemas.Progress:
    """The share of the whole chain that is done; each step counts the same."""
    if record.status is JobStatus.SUCCEEDED:
        return schemas.Progress(value=1.0, message="", metrics={})
    done = float(sum(step.status is StepStatus.SUCCEEDED for step in record.steps))
    message, metrics = "", {}
    if _running(record):
        done += record.progress
        message, metrics = record.progress_message, record.metrics
    value = round(min(done / len(record.steps), 1.0), 4)
    return schemas.Progress(value=value, message=message, metrics=metrics)


def _running(record: JobRecord) -> bool:
    return record.steps[record.current].status is StepStatus.RUNNING


def _eta_s(record: JobRecord, now_ms: int) -> float | None:
    """Seconds to the end, once the last step has shown how fast it goes; None before."""
    step = record.steps[record.current]
    last = record.current == len(record.steps) - 1
    if not last or step.status is not StepStatus.RUNNING or not step.started_at:
        return None
    if record.progress <= 0:
        return None
    took_s = max(0, now_ms - step.started_at) / 1000
    return round(took_s * (1 - record.progress) / record.progress, 1)


def _outputs(record: JobRecord, url: str) -> schemas.Outputs:
    def listed(artifact: Artifact) -> dict[str, Any]:
        return {
            "name": artifact.name,
            "url": f"{url}/artifacts/{quote(artifact.name)}",
            "media_type": artifact.media_type,
            "sha256": artifact.sha256,
            "bytes": artifact.bytes,
        }

    images = [
        schemas.ImageView(
            **listed(artifact),
            width=artifact.width,
            height=artifact.height,
            seed=artifact.seed,
        )
        for artifact in record.artifacts
        if artifact.width  # a plot is no picture
    ]
    artifacts = [schemas.ArtifactView(**listed(artifact)) for artifact in record.artifacts]
    return schemas.Outputs(**{**record.outputs, "images": images, "artifacts": artifacts})
