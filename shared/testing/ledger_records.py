"""What the ledger's in-memory twin keeps of each job, file and batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.batches import BatchRecord, BatchStatus
from shared.contracts import (
    FileRecord,
    JobError,
    JobRecord,
    JobStatus,
    NewJob,
    Step,
    StepOutput,
    StepRecord,
    StepStatus,
)


@dataclass
class StepState:
    step: Step
    status: StepStatus = StepStatus.WAITING
    attempts: int = 0
    queued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    output: StepOutput | None = None
    fence: int | None = None  # the one it was committed under

    def record(self) -> StepRecord:
        return StepRecord(**{name: getattr(self, name) for name in StepRecord.model_fields})


@dataclass
class JobState:
    """A job. Its `phase` says who acts next, as in `shared/ledger/lua/common.lua`."""

    new: NewJob
    number: int  # in the order of submission
    created_at: int
    retention_ms: int
    expires_at: int
    deadline_at: int | None
    idempotency: tuple[str, str] | None
    steps: list[StepState]
    version: int = 0
    phase: Literal["waiting", "delayed", "published", "leased", "ended"] = "waiting"
    status: JobStatus = JobStatus.QUEUED
    current: int = 0
    due: int = 0  # when the reaper must look next
    published: int = 0  # number of the last publication
    published_at: int = 0
    first_published_at: int = 0  # the same of the step's first message
    fence: int = 0
    attempt: int = 0
    token: str = ""
    lease_until: int = 0
    step_deadline: int = 0
    cancel: bool = False
    erase: bool = False
    progress: float = 0.0
    progress_message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    started_at: int | None = None
    finished_at: int | None = None
    error: JobError | None = None

    @property
    def step(self) -> StepState:
        return self.steps[self.current]

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of the current step and those after it."""
        return tuple(s.step.queue(self.new.priority) for s in self.steps[self.current :])

    @property
    def queue(self) -> str:
        return self.queues[0]

    def holds(self, step: int, fence: int) -> bool:
        return self.phase == "leased" and (self.current, self.fence) == (step, fence)

    def tell(self, progress: float, message: str, metrics: Mapping[str, float]) -> None:
        self.progress, self.progress_message, self.metrics = progress, message, dict(metrics)

    def look_at(self, at: int) -> None:
        self.due = at if self.deadline_at is None else min(at, self.deadline_at)

    def record(self) -> JobRecord:
        planned = NewJob.model_fields.keys() & JobRecord.model_fields.keys() - {"steps"}
        own = JobRecord.model_fields.keys() - planned - {"steps"}
        return JobRecord(
            steps=tuple(step.record() for step in self.steps),
            **{name: getattr(self.new, name) for name in planned},
            **{name: getattr(self, name) for name in own},
        )


@dataclass
class FileState:
    record: FileRecord
    deleted: bool = False


@dataclass
class BatchState:
    """A batch. Which jobs an opening has is derived from the jobs."""

    record: BatchRecord
    number: int  # in the order of creation
    opening: int = 0  # the latest
    failed: dict[int, dict[str, Any]] = field(default_factory=dict)  # chunk → its numbers
    redo: set[int] = field(default_factory=set)

    def set(self, **fields: Any) -> None:
        self.record = self.record.model_copy(update=fields)

    @property
    def chunks_left(self) -> bool:
        chunks = self.record.chunks
        return bool(self.redo) or (chunks is not None and self.record.next_chunk < chunks)

    def set_status(self, status: BatchStatus, now: int) -> None:
        self.set(status=status, paused_at=None, paused_by=None)
        if status is BatchStatus.IN_PROGRESS:
            self.set(in_progress_at=self.record.in_progress_at or now)
        elif status is not BatchStatus.VALIDATING:
            self.set(**{f"{status}_at": now})
        self.set(expires_at=now + self.record.retention_ms if status.terminal else None)

    def settle(self, now: int) -> None:
        """Once no chunk is open, and none is to be opened, the batch is on its last stretch."""
        status = self.record.status
        if self.record.open:
            return
        opens = status in (BatchStatus.IN_PROGRESS, BatchStatus.PAUSED)
        if status is BatchStatus.CANCELLING or (opens and not self.chunks_left):
            self.set_status(BatchStatus.FINALIZING, now)
