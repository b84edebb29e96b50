"""The in-memory twin of `shared.ledger.Ledger`: the same answers, from plain Python.

With `ledger_records.py` and `ledger_state.py` it is the ledger's specification: what the real one
keeps as indexes (queues, due times, listings) is derived here from the jobs whenever it is asked
for.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from shared.contracts import (
    FileRecord,
    JobRecord,
    JobStatus,
    NewJob,
    StepOutput,
    StepStatus,
    WorkerRecord,
)
from shared.errors import ChunkClosed, ImagemillError, NotFound
from shared.ledger import Ledger
from shared.ledger import ledger as real
from shared.ledger.records import Claim, Outcome, Page, Publication, Renewal, Submitted
from shared.settings import Settings
from shared.testing.ledger_batches import MemoryBatches
from shared.testing.ledger_records import FileState, JobState, StepState
from shared.testing.ledger_state import LedgerState
from shared.testing.ledger_upkeep import MemoryUpkeep, public_methods_atomic


@public_methods_atomic
class MemoryLedger(MemoryBatches, MemoryUpkeep, Ledger):
    """`clock` gives milliseconds; `advance` lets time pass.

    While `down` is set, every call raises LedgerUnavailable.
    """

    def __init__(self, settings: Settings, clock: Callable[[], int] | None = None) -> None:
        self.down = False
        self._settings = settings
        self._clock = clock or (lambda: int(time.time() * 1000))
        self._passed = 0
        self._lock = threading.RLock()
        self._state = LedgerState()

    def advance(self, ms: int) -> None:
        """Let time pass, or set the clock back."""
        with self._lock:
            self._passed += ms
            self._state.set_clock(self._clock() + self._passed)

    # The server

    def ping(self) -> None:
        pass

    def check(self) -> None:
        pass

    def counters(self) -> dict[str, int]:
        return dict(self._state.counters)

    # Jobs, as clients see them

    def submit(self, job: NewJob, idempotency: tuple[str, str] | None = None) -> Submitted:
        state, now = self._state, self._state.now
        if job.id in state.jobs:
            return Submitted(job.id, True)
        if repeated := state.repeated_request(job.tenant, idempotency):
            return repeated
        for file_id in job.files:
            self.get_file(job.tenant, file_id)
        place = job.batch
        if place and not state.is_open(place.batch_id, place.chunk, place.opening):
            raise ChunkClosed(f"the chunk that {job.id} belongs to is closed")
        state.keep_request(job.tenant, idempotency, job.id, now)
        state.job_number += 1
        recorded = JobState(
            new=NewJob.model_validate_json(job.model_dump_json()),
            number=state.job_number,
            created_at=now,
            retention_ms=int(job.retention_s * 1000),
            expires_at=now + int(job.retention_s * 1000),
            deadline_at=now + int(job.deadline_s * 1000) if job.deadline_s else None,
            idempotency=idempotency,
            steps=[StepState(step) for step in job.steps],
        )
        recorded.step.queued_at = now
        state.jobs[job.id] = recorded
        state.enqueue(recorded)
        state.mark_unsaved(recorded)
        state.remember()
        state.counters["submitted"] += 1
        return Submitted(job.id, True)

    def find_idempotent(self, tenant: str, key: str) -> tuple[str, str] | None:
        return self._state.find_idempotent(tenant, key)

    def get(self, job_id: str) -> JobRecord:
        job = self._state.jobs.get(job_id)
        if job is None or job.erase:
            raise NotFound(f"no such job: {job_id}")
        return job.record()

    def jobs(
        self,
        tenant: str,
        *,
        status: JobStatus | None = None,
        kind: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page:
        found = [
            job
            for job in sorted(self._state.jobs.values(), key=lambda job: -job.number)
            if job.new.tenant == tenant
            and not job.erase
            and not job.new.batch
            and status in (None, job.status)
            and kind in (None, job.new.kind)
            and (after is None or job.number < int(after))
        ][:limit]
        cursor = str(found[-1].number) if len(found) == limit else None
        return Page([job.record() for job in found], cursor)

    def cancel(self, job_id: str) -> JobRecord:
        self._cancel(job_id, erase=False)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        self._cancel(job_id, erase=True)

    def _cancel(self, job_id: str, erase: bool) -> None:
        job = self._state.jobs.get(job_id)
        if job is None:
            raise NotFound(f"no such job: {job_id}")
        if erase:
            job.erase = True
            self._state.forget_request(job.new.tenant, job.idempotency, job_id)
        if job.phase == "leased":
            job.cancel, job.status = True, JobStatus.CANCELING
        elif job.phase != "ended":
            self._state.finish(job, JobStatus.CANCELED)
        elif erase:
            self._state.erase(job)

    def queue_position(self, job: JobRecord) -> int | None:
        queue = job.steps[job.current].step.queue(job.priority)
        line = [*self._state.published(queue), *self._state.waiting(queue)]
        return next((i for i, other in enumerate(line) if other.new.id == job.id), None)

    # Files

    def put_file(self, record: FileRecord) -> FileRecord:
        now = self._state.now
        file = self._state.files.get(record.id)
        if file is None:
            file = FileState(record.model_copy(update={"created_at": now}))
            self._state.files[record.id] = file
        file.deleted = False
        expires_at = now + record.expires_at - record.created_at
        file.record = file.record.model_copy(update={"expires_at": expires_at})
        self._state.remember()
        return self.get_file(record.tenant, record.id)

    def files(self, tenant: str, ids: Sequence[str]) -> dict[str, FileRecord]:
        found = ((file_id, self._state.files.get(file_id)) for file_id in ids)
        return {
            file_id: file.record
            for file_id, file in found
            if file and not file.deleted and file.record.tenant == tenant
        }

    def file_key(self, file_id: str) -> tuple[str, str, int]:
        file = self._state.files.get(file_id)
        if file is None:
            raise NotFound(f"no such file: {file_id}")
        return file.record.key, file.record.sha256, file.record.bytes

    def delete_file(self, tenant: str, file_id: str) -> None:
        self.get_file(tenant, file_id)
        self._state.files[file_id].deleted = True
        self._state.drop(file_id)

    # Steps, as workers see them

    def admit(self, queue: str) -> list[Publication]:
        limit = self._settings.admit_per_queue
        admitted = []
        for job in self._state.waiting(queue)[: 2 * limit]:
            names = (queue, *job.queues[1:])
            if all(len(self._state.published(name)) < limit for name in names):
                admitted.append(self._state.publish(job))
                self._state.counters["published"] += 1
        return admitted

    def claim(self, job_id: str, step: int, worker: str, token: str) -> Claim:
        state, now = self._state, self._state.now
        job = state.jobs.get(job_id)
        if job is None:
            return Claim("gone")
        if job.phase == "ended":
            return Claim("terminal")
        if step < job.current:
            unclaimed = step + 1 == job.current and job.phase == "published"
            return Claim("stale", next_unclaimed=unclaimed)
        if job.phase == "leased" and (step, token) == (job.current, job.token):
            return Claim("ok", job.fence, job.attempt, bool(state.waiting(job.queue)))
        if job.phase in ("leased", "delayed") or step > job.current:
            return Claim("busy")
        if state.overdue(job):
            return Claim("terminal")
        state.claimed[job.queue] = max(job.first_published_at, state.claimed.get(job.queue, 0))
        state.counters["claims"] += 1
        job.phase, job.status, job.step.status = "leased", JobStatus.RUNNING, StepStatus.RUNNING
        job.fence, job.attempt, job.token = job.fence + 1, job.attempt + 1, token
        job.tell(0.0, "", {})
        job.started_at = now if job.started_at is None else job.started_at
        job.step.started_at, job.step.attempts = now, job.attempt
        job.step_deadline = now + int(self._settings.step_timeout_s * 1000)
        self._lease(job)
        return Claim("ok", job.fence, job.attempt, bool(state.waiting(job.queue)))

    def renew(
        self,
        job_id: str,
        step: int,
        fence: int,
        progress: float = 0.0,
        message: str = "",
        metrics: Mapping[str, float] | None = None,
        saved: bool = False,
    ) -> Renewal:
        job = self._state.jobs.get(job_id)
        if job is None or not job.holds(step, fence):
            return "lost"
        if job.cancel:
            return "cancel"
        if any(self._state.now >= at for at in (job.step_deadline, job.deadline_at) if at):
            return "deadline"
        job.tell(float(f"{progress:.4f}"), message, metrics or {})
        if saved:
            job.attempt = 1
            job.step_deadline = self._state.now + int(self._settings.step_timeout_s * 1000)
        self._lease(job)
        return "ok"

    def _lease(self, job: JobState) -> None:
        job.lease_until = self._state.now + int(self._settings.lease_s * 1000)
        job.look_at(job.lease_until)

    def commit(self, job_id: str, step: int, fence: int, output: StepOutput) -> Outcome:
        known = self._state.jobs.get(job_id)
        if known and any(past.fence == fence for past in known.steps[step : step + 1]):
            return "already"
        job = self._state.held(job_id, step, fence)
        if isinstance(job, str):
            return job
        job.step.status, job.step.output = StepStatus.SUCCEEDED, output
        job.step.fence, job.step.finished_at = fence, self._state.now
        self._state.counters["commits"] += 1
        if step + 1 == len(job.steps):
            self._state.finish(job, JobStatus.SUCCEEDED)
            return "succeeded"
        job.current, job.attempt = step + 1, 0
        job.tell(0.0, "", {})
        job.step.status, job.step.queued_at = StepStatus.QUEUED, self._state.now
        self._state.publish(job)
        self._state.mark_unsaved(job)
        return "next"

    def fail(
        self, job_id: str, step: int, fence: int, error: ImagemillError, delay_s: float = 1.0
    ) -> Outcome:
        job = self._state.held(job_id, step, fence)
        if isinstance(job, str):
            return job
        if error.retryable and not error.burns_attempt:
            job.attempt -= 1
        if not error.retryable or job.attempt >= self._settings.max_attempts:
            self._state.fail(job, error.code, error.message)
            return "failed"
        job.phase, job.step.status = "delayed", StepStatus.QUEUED
        job.look_at(self._state.now + int(delay_s * 1000))
        self._state.counters["retries"] += 1
        return "retry"

    def release(self, job_id: str, step: int, fence: int) -> Outcome:
        job = self._state.held(job_id, step, fence)
        if isinstance(job, str):
            return job
        job.attempt -= 1
        self._state.enqueue(job)
        self._state.counters["released"] += 1
        return "released"

    def heartbeat(self, worker: WorkerRecord) -> None:
        self._state.workers[worker.name] = worker, self._state.now + real.WORKER_TTL_MS

    def goodbye(self, name: str) -> None:
        self._state.workers.pop(name, None)

    def workers(self) -> list[WorkerRecord]:
        return [worker for _, (worker, _) in sorted(self._state.workers.items())]
