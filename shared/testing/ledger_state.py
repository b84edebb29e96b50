"""What the ledger's in-memory twin remembers, and the moves that its transitions are made of."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
    WorkerRecord,
)
from shared.layout import job_folder
from shared.ledger import server as real
from shared.ledger.records import Publication

DAY_MS = 86_400_000


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
        planned = {"id", "tenant", "kind", "priority", "input", "metadata", "files"}
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
class LedgerState:
    """Everything the ledger knows. Queues and listings are derived from the jobs."""

    now: int = 0
    jobs: dict[str, JobState] = field(default_factory=dict)
    files: dict[str, FileState] = field(default_factory=dict)
    idempotency: dict[tuple[str, str], tuple[str, str, int]] = field(default_factory=dict)
    workers: dict[str, tuple[WorkerRecord, int]] = field(default_factory=dict)
    queues: set[str] = field(default_factory=set)
    claimed: dict[str, int] = field(default_factory=dict)  # queue → when the youngest was published
    unsaved: dict[str, int] = field(default_factory=dict)
    garbage: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)  # name → until when it is taken
    cursors: dict[str, str] = field(default_factory=dict)
    knows_since: int | None = None
    counters: Counter[str] = field(default_factory=Counter)
    job_number: int = 0
    publication_number: int = 0

    def set_clock(self, now: int) -> None:
        """What has a time to live goes when that is over, and does not return with the clock."""
        self.now = now
        self.turns = {name: until for name, until in self.turns.items() if now < until}
        self.workers = {name: known for name, known in self.workers.items() if now < known[1]}
        requests = self.idempotency.items()
        self.idempotency = {key: request for key, request in requests if now < request[2]}

    def find_idempotent(self, tenant: str, key: str) -> tuple[str, str] | None:
        request = self.idempotency.get((tenant, key))
        return request and request[:2]

    def waiting(self, queue: str) -> list[JobState]:
        jobs = (j for j in self.jobs.values() if j.phase == "waiting" and j.queue == queue)
        return sorted(jobs, key=lambda job: job.number)

    def published(self, queue: str) -> list[JobState]:
        jobs = (j for j in self.jobs.values() if j.phase == "published" and j.queue == queue)
        return sorted(jobs, key=lambda job: job.published)

    def enqueue(self, job: JobState) -> None:
        self.queues.add(job.queue)
        job.phase, job.step.status = "waiting", StepStatus.QUEUED
        job.look_at(self.now + DAY_MS)

    def publish(self, job: JobState, again: bool = False) -> Publication:
        self.queues.add(job.queue)
        self.publication_number += 1
        job.phase, job.published = "published", self.publication_number
        job.published_at = self.now
        if not again:
            job.first_published_at = self.now
        job.look_at(self.now + real.PUBLISH_GRACE_MS)
        return Publication(job.new.id, job.current, job.queues)

    def held(self, job_id: str, step: int, fence: int) -> JobState | Literal["fenced", "canceled"]:
        """The job if this fence may move its step; a cancel asked for takes effect here."""
        job = self.jobs.get(job_id)
        if job is None or not job.holds(step, fence):
            self.counters["fenced"] += 1
            return "fenced"
        if job.cancel:
            self.finish(job, JobStatus.CANCELED)
            return "canceled"
        return job

    def overdue(self, job: JobState) -> bool:
        """Whether the job's deadline has passed, which ends it."""
        if job.deadline_at is None or self.now < job.deadline_at:
            return False
        if job.started_at is None:
            self.finish(job, JobStatus.EXPIRED)
        else:
            self.fail(job, "deadline_exceeded", "the deadline passed while the job ran")
        return True

    def reap(self, job: JobState, idle: set[str], max_attempts: int) -> Publication | None:
        """Deal with one job that is due."""
        if job.phase == "leased":
            self._reap_leased(job, max_attempts)
        elif self.overdue(job):
            self.counters["overdue"] += 1
        elif job.phase != "published":
            self.enqueue(job)
        elif job.queue in idle or self._passed_by(job):
            self.counters["republished"] += 1
            return self.publish(job, again=True)
        else:
            job.look_at(self.now + real.PUBLISH_GRACE_MS)
        return None

    def _passed_by(self, job: JobState) -> bool:
        """Whether a message that was published well after this job's was claimed already."""
        return self.claimed.get(job.queue, 0) > job.published_at + real.PUBLISH_GRACE_MS

    def _reap_leased(self, job: JobState, max_attempts: int) -> None:
        if self.now < job.lease_until:
            job.due = job.lease_until
            return
        self.counters["lease_expired"] += 1
        if job.cancel:
            self.finish(job, JobStatus.CANCELED)
        elif self.overdue(job):
            pass
        elif job.attempt >= max_attempts:
            self.fail(job, "poison", "every worker that took this step was lost")
        else:
            self.enqueue(job)

    def fail(self, job: JobState, code: str, message: str) -> None:
        job.step.finished_at, job.step.status = self.now, StepStatus.FAILED
        job.error = JobError(code=code, message=message, step=job.step.step.name)
        self.finish(job, JobStatus.FAILED)

    def finish(self, job: JobState, status: JobStatus) -> None:
        """The one way into a terminal state."""
        job.phase, job.status, job.finished_at = "ended", status, self.now
        job.expires_at = self.now + job.retention_ms
        for step in job.steps:
            if step.status not in (StepStatus.SUCCEEDED, StepStatus.FAILED):
                step.status = StepStatus.CANCELED
        self.mark_unsaved(job)
        self.counters[status] += 1
        for file_id in job.new.files:
            self.drop(file_id)
        if job.erase:
            self.erase(job)

    def erase(self, job: JobState) -> None:
        del self.jobs[job.new.id]
        self.unsaved.pop(job.new.id, None)
        self.forget_request(job)
        self.garbage[job_folder(job.new.id)] = self.now

    def forget_request(self, job: JobState) -> None:
        """Let go of the Idempotency-Key of a deleted job."""
        request = job.new.tenant, job.idempotency[0] if job.idempotency else ""
        if self.idempotency.get(request, ("",))[0] == job.new.id:
            del self.idempotency[request]

    def drop(self, file_id: str) -> None:
        """Forget a deleted file once no unfinished job needs it."""
        file = self.files.get(file_id)
        if file and file.deleted and not self.needed(file_id):
            del self.files[file_id]
            self.garbage[file.record.key] = self.now

    def needed(self, file_id: str) -> bool:
        """Whether a job that has not ended needs the file."""
        return any(j.phase != "ended" and file_id in j.new.files for j in self.jobs.values())

    def mark_unsaved(self, job: JobState) -> None:
        job.version += 1
        self.unsaved.setdefault(job.new.id, self.now)

    def remember(self) -> None:
        if self.knows_since is None:
            self.knows_since = self.now
