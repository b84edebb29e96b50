"""What the ledger answers, and how a job's hash becomes a JobRecord."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.contracts import (
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
    """The job that a SUBMIT stands for; not `created` when the Idempotency-Key knew it."""

    job_id: str
    created: bool


@dataclass(frozen=True)
class Claim:
    """The answer to CLAIM. `fence` and `attempt` are there when `state` is `ok`.

    `next_unclaimed` (of a `stale` one): the step is committed, but the next one is not claimed,
    so its message may have been lost with the worker that was to publish it.
    """

    state: Literal["ok", "stale", "busy", "terminal", "gone"]
    fence: int = 0
    attempt: int = 0
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


def job_record(fields: Mapping[str, str]) -> JobRecord:
    """The record of a job from its hash; absent numbers are None."""

    def number(name: str) -> int | None:
        return int(fields[name]) if fields.get(name) else None

    plan = json.loads(fields["steps"])
    error, deadline = fields.get("error"), number("deadline_at")
    return JobRecord(
        id=fields["id"],
        tenant=fields["tenant"],
        kind=fields["kind"],
        status=JobStatus(fields["status"]),
        priority=Priority(fields["priority"]),
        input=json.loads(fields["input"]),
        metadata=json.loads(fields["metadata"]),
        created_at=int(fields["created_at"]),
        started_at=number("started_at"),
        finished_at=number("finished_at"),
        expires_at=int(fields["expires_at"]),
        deadline_at=deadline or None,
        steps=tuple(_step_record(i, Step(**step), fields) for i, step in enumerate(plan)),
        current=int(fields["step"]),
        fence=int(fields["fence"]),
        progress=float(fields.get("progress") or 0),
        progress_message=fields.get("message", ""),
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
