"""What the service answers about batches. Times are seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imagemill.records import Job, Record

ENDED = frozenset({"completed", "failed", "cancelled", "expired"})


@dataclass(frozen=True, kw_only=True)
class BatchCounts(Record):
    """Items of a batch; `total` is 0 until its source has been read."""

    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        return self.completed + self.failed


@dataclass(frozen=True, kw_only=True)
class BatchProblem(Record):
    """Why a source is of no use; `line` is its place in a source of lines, from 1."""

    code: str
    message: str = ""
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, kw_only=True)
class Batch(Record):
    """A batch. `rate` is in items a second, `error_codes` counts the failed items by code."""

    id: str
    status: str
    created_at: int = 0
    completed_at: int | None = None
    expires_at: int | None = None
    next_start: int | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    rate: float | None = None
    eta_s: float | None = None
    error_codes: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the batch has ended, in whichever way."""
        return self.status in ENDED

    @property
    def counts(self) -> BatchCounts:
        return BatchCounts.of(self.raw.get("request_counts") or {})

    @property
    def problems(self) -> tuple[BatchProblem, ...]:
        listed = (self.raw.get("errors") or {}).get("data") or ()
        return tuple(BatchProblem.of(problem) for problem in listed)


@dataclass(frozen=True)
class BatchPage:
    """One page of a listing; `next` is the cursor of the following one."""

    data: list[Batch]
    has_more: bool = False
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class BatchLine(Record):
    """What became of one item, called `custom_id`: a `response`, an `error`, or both."""

    id: str | None = None
    custom_id: str | None = None
    response: Mapping[str, Any] | None = None

    @property
    def job(self) -> Job | None:
        """The item's job; None where it never ran, or the endpoint answers something else."""
        body = (self.response or {}).get("body") or {}
        return Job.of(body) if {"id", "kind", "status"} <= body.keys() else None

    @property
    def error(self) -> BatchProblem | None:
        error = self.raw.get("error")
        return BatchProblem.of(error) if error else None
