"""What the ledger answers, and how a job's hash becomes a JobRecord and a record a hash."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from shared.contracts import (
    BatchPlace,
    FileRecord,
    Item,
    JobError,
    JobRecord,
    JobStatus,
    Priority,
    Step,
    StepOutput,
    StepRecord,
    StepStatus,
)

Renewal = Literal["ok", "cancel", "deadline", "lost"]
Outcome = Literal[
    "next", "succeeded", "already", "retry", "failed", "released", "canceled", "fenced"
]


@dataclass(frozen=True)
class Submitted:
    """The job (or batch) that a request stands for; not `created` when its Idempotency-Key knew
    it."""

    job_id: str
    created: bool


@dataclass(frozen=True)
class Claim:
    """The answer to CLAIM. `fence`, `attempt` and `others_wait` are there when `state` is `ok`.

    `others_wait`: steps wait for the admission to the queue that this one has left.

    `next_unclaimed` (of a `stale` one): the step is committed, but the next one is not claimed,
    so its message may have been lost with the worker that was to publish it.
    """

    state: Literal["ok", "stale", "busy", "terminal", "gone"]
    fence: int = 0
    attempt: int = 0
    others_wait: bool = False
    next_unclaimed: bool = False


@dataclass(frozen=True)
class Publication:
    """A job's chain to publish: `queues[i]` is the queue of step `step + i`."""

    job_id: str
    step: int
    queues: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """One page of a listing, newest first; `next` is the cursor of the following one."""

    jobs: list[JobRecord]
    next: str | None


def publication(row: list[Any]) -> Publication:
    """From a row of ADMIT's or REAP's answer."""
    job_id, step, queues = row
    return Publication(job_id, int(step), tuple(json.loads(queues)[int(step) :]))


def job_record(fields: Mapping[str, str]) -> JobRecord:
    """The record of a job from its hash; absent numbers are None."""

    def number(name: str) -> int | None:
        return int(fields[name]) if fields.get(name) else None

    plan = json.loads(fields["steps"])
    error, deadline = fields.get("error"), number("deadline_at")
    place, items = fields.get("batch"), json.loads(fields.get("items", "[]"))
    return JobRecord(
        id=fields["id"],
        tenant=fields["tenant"],
        kind=fields["kind"],
        version=int(fields["version"]),
        status=JobStatus(fields["status"]),
        priority=Priority(fields["priority"]),
        input=json.loads(fields["input"]),
        metadata=json.loads(fields["metadata"]),
        created_at=int(fields["created_at"]),
        started_at=number("started_at"),
        finished_at=number("finished_at"),
        retention_ms=int(fields["retention_ms"]),
        expires_at=int(fields["expires_at"]),
        deadline_at=deadline or None,
        files=tuple(json.loads(fields["files"])),
        idempotency=(fields["idempotency"], fields["body_hash"]) if fields["idempotency"] else None,
        batch=BatchPlace.model_validate_json(place) if place else None,
        items=tuple(Item(**item) for item in items),
        steps=tuple(_step_record(i, Step(**step), fields) for i, step in enumerate(plan)),
        current=int(fields["step"]),
        fence=int(fields["fence"]),
        progress=float(fields.get("progress") or 0),
        progress_message=fields.get("message", ""),
        metrics=json.loads(fields.get("metrics") or "{}"),
        error=JobError.model_validate_json(error) if error else None,
    )


def _step_record(index: int, step: Step, fields: Mapping[str, str]) -> StepRecord:
    def value(name: str) -> str | None:
        return fields.get(f"s{index}:{name}")

    def number(name: str) -> int | None:
        text = value(name)
        return int(text) if text else None

    output = value("output")
    return StepRecord(
        step=step,
        status=StepStatus(value("status") or "waiting"),
        attempts=number("attempts") or 0,
        queued_at=number("queued_at"),
        started_at=number("started_at"),
        finished_at=number("finished_at"),
        output=StepOutput.model_validate_json(output) if output else None,
    )


def job_fields(job: JobRecord, fence: int) -> Iterator[Any]:
    """Names and values of a job's hash, for RESTORE; what the script itself knows is left out."""
    plan = [record.step for record in job.steps]
    key, body_hash = job.idempotency or ("", "")
    fields = {
        "tenant": job.tenant,
        "kind": job.kind,
        "version": job.version,
        "phase": "ended" if job.status.terminal else "waiting",
        "priority": job.priority,
        "input": json.dumps(job.input),
        "metadata": json.dumps(job.metadata),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "retention_ms": job.retention_ms,
        "expires_at": job.expires_at,
        "deadline_at": job.deadline_at or 0,
        "files": json.dumps(job.files),
        "idempotency": key,
        "body_hash": body_hash,
        "steps": json.dumps([step.model_dump() for step in plan]),
        "queues": json.dumps([step.queue(job.priority) for step in plan]),
        "step_count": len(plan),
        "step": job.current,
        "fence": fence,
        "attempt": 0,
        "progress": job.progress,
        "message": job.progress_message,
        "metrics": json.dumps(job.metrics) if job.metrics else None,
        "error": job.error and job.error.model_dump_json(),
    }
    for index, record in enumerate(job.steps):
        own = record.model_dump(exclude={"step", "output"})
        fields |= {f"s{index}:{name}": value for name, value in own.items()}
        fields[f"s{index}:output"] = record.output and record.output.model_dump_json()
    return chain.from_iterable((n, v) for n, v in fields.items() if v is not None)


def file_of(fields: Mapping[str, str]) -> FileRecord:
    """The record of an upload from its hash."""
    width, height = int(fields["width"]) or None, int(fields["height"]) or None
    return FileRecord.model_validate({**fields, "width": width, "height": height})


def file_fields(record: FileRecord) -> Iterator[Any]:
    """Names and values of an upload's hash, without what the scripts are told apart."""
    fields = {
        "tenant": record.tenant,
        "purpose": record.purpose,
        "bytes": record.bytes,
        "sha256": record.sha256,
        "media_type": record.media_type,
        "filename": record.filename,
        "width": record.width or 0,
        "height": record.height or 0,
    }
    return chain.from_iterable(fields.items())
