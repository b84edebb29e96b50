"""What the ledger's in-memory twin remembers, and the moves that its transitions are made of."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from shared.contracts import JobError, JobStatus, StepStatus, WorkerRecord
from shared.errors import IdempotencyConflict
from shared.layout import batch_folder, job_folder
from shared.ledger import server as real
from shared.ledger.batch_records import Pace
from shared.ledger.records import Publication, Submitted
from shared.testing.ledger_records import BatchState, FileState, JobState

DAY_MS = 86_400_000


@dataclass
class LedgerState:
    """Everything the ledger knows. Queues and listings are derived from the jobs."""

    now: int = 0
    jobs: dict[str, JobState] = field(default_factory=dict)
    files: dict[str, FileState] = field(default_factory=dict)
    batches: dict[str, BatchState] = field(default_factory=dict)
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
    paces: dict[str, tuple[Pace, int]] = field(default_factory=dict)  # and until when it is known
    outcomes: dict[str, tuple[list[dict[str, Any]], int]] = field(default_factory=dict)  # the same
    job_number: int = 0
    batch_number: int = 0
    publication_number: int = 0

    def set_clock(self, now: int) -> None:
        """What has a time to live goes when that is over, and does not return with the clock."""
        self.now = now
        self.turns = {name: until for name, until in self.turns.items() if now < until}
        self.workers = {name: known for name, known in self.workers.items() if now < known[1]}
        requests = self.idempotency.items()
        self.idempotency = {key: request for key, request in requests if now < request[2]}
        self.paces = {name: known for name, known in self.paces.items() if now < known[1]}
        self.outcomes = {name: known for name, known in self.outcomes.items() if now < known[1]}

    def find_idempotent(self, tenant: str, key: str) -> tuple[str, str] | None:
        request = self.idempotency.get((tenant, key))
        return request and request[:2]

    def repeated_request(
        self, tenant: str, idempotency: tuple[str, str] | None
    ) -> Submitted | None:
        """The answer to a request whose key is known. Raises IdempotencyConflict."""
        seen = idempotency and self.find_idempotent(tenant, idempotency[0])
        if not idempotency or not seen:
            return None
        if seen[1] != idempotency[1]:
            raise IdempotencyConflict("the Idempotency-Key was used with another request")
        return Submitted(seen[0], False)

    def keep_request(
        self, tenant: str, idempotency: tuple[str, str] | None, subject: str, created_at: int
    ) -> None:
        """Let the key stand for a job or batch, for a day from its creation."""
        if not idempotency:
            return
        key, body_hash = idempotency
        # Whole seconds, rounded up, as the server counts them.
        until = self.now - (self.now - created_at) // 1000 * 1000 + DAY_MS
        if self.now < until and self.find_idempotent(tenant, key) is None:
            self.idempotency[tenant, key] = subject, body_hash, until

    def forget_request(
        self, tenant: str, idempotency: tuple[str, str] | None, subject: str
    ) -> None:
        """Let go of the Idempotency-Key of what was deleted."""
        request = tenant, idempotency[0] if idempotency else ""
        if self.idempotency.get(request, ("",))[0] == subject:
            del self.idempotency[request]

    def is_open(self, batch_id: str, chunk: int, opening: int) -> bool:
        batch = self.batches.get(batch_id)
        opened = batch.record.open.get(chunk) if batch else None
        return opened is not None and opened.opening == opening

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
        self.let_files_go(job.new.files)
        if job.erase:
            self.erase(job)

    def erase(self, job: JobState) -> None:
        del self.jobs[job.new.id]
        self.unsaved.pop(job.new.id, None)
        self.forget_request(job.new.tenant, job.idempotency, job.new.id)
        self.garbage[job_folder(job.new.id)] = self.now

    def erase_batch(self, batch: BatchState) -> None:
        record = batch.record
        for chunk in record.open.values():
            self.erase_jobs(record.id, chunk.opening)
        del self.batches[record.id]
        self.let_files_go(record.files)
        self.forget_request(record.tenant, record.idempotency, record.id)
        self.garbage[batch_folder(record.id)] = self.now

    def erase_jobs(self, batch_id: str, opening: int) -> None:
        """Erase the jobs of an opening of a chunk, at work or not."""
        for job in list(self.jobs.values()):
            place = job.new.batch
            if place is None or (place.batch_id, place.opening) != (batch_id, opening):
                continue
            if job.phase == "ended":
                self.erase(job)
            else:
                job.erase = True
                self.finish(job, JobStatus.CANCELED)

    def has_file(self, tenant: str, file_id: str) -> bool:
        file = self.files.get(file_id)
        return file is not None and not file.deleted and file.record.tenant == tenant

    def let_files_go(self, files: Iterable[str]) -> None:
        for file_id in files:
            self.drop(file_id)

    def drop(self, file_id: str) -> None:
        """Forget a deleted file once no unfinished job or batch needs it."""
        file = self.files.get(file_id)
        if file and file.deleted and not self.needed(file_id):
            del self.files[file_id]
            self.garbage[file.record.key] = self.now

    def needed(self, file_id: str) -> bool:
        """Whether a job or batch that has not ended needs the file."""
        jobs = (job.new.files for job in self.jobs.values() if job.phase != "ended")
        batches = (batch.record for batch in self.batches.values())
        held = (batch.files for batch in batches if not batch.status.terminal)
        return any(file_id in files for files in chain(jobs, held))

    def mark_unsaved(self, job: JobState) -> None:
        job.version += 1
        if job.new.batch is None:
            self.unsaved.setdefault(job.new.id, self.now)

    def remember(self) -> None:
        if self.knows_since is None:
            self.knows_since = self.now
