"""The in-memory twin of `shared.ledger.upkeep`."""

import threading
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from shared.contracts import FileRecord, JobRecord, JobStatus, NewJob
from shared.errors import LedgerUnavailable
from shared.layout import job_folder
from shared.ledger.records import Publication
from shared.ledger.upkeep import Upkeep
from shared.settings import Settings
from shared.testing.ledger_records import FileState, JobState, StepState
from shared.testing.ledger_state import LedgerState

FOREVER = 2**63

C = TypeVar("C", bound="type[MemoryUpkeep]")


def _atomic(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def atomic(self: "MemoryUpkeep", *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            if self.down:
                raise LedgerUnavailable("the ledger does not answer: it is down")
            self._state.set_clock(self._clock() + self._passed)
            return method(self, *args, **kwargs)

    return atomic


def public_methods_atomic(cls: C) -> C:
    """One thread at a time, on one reading of the clock, as a script on the server runs."""
    for name, method in list(vars(cls).items()):
        if not name.startswith("_") and callable(method):
            setattr(cls, name, _atomic(method))
    return cls


@public_methods_atomic
class MemoryUpkeep(Upkeep):
    """What the twin does for reapers, and the state that all of it shares."""

    down: bool
    _settings: Settings
    _clock: Callable[[], int]
    _passed: int
    _lock: threading.RLock
    _state: LedgerState

    def queues(self) -> dict[str, int]:
        state = self._state
        return {
            name: len(state.waiting(name)) + len(state.published(name))
            for name in sorted(state.queues)
        }

    def reap(self, idle: Iterable[str], limit: int = 1000) -> list[Publication]:
        state, empty = self._state, set(idle)
        due = [job for job in state.jobs.values() if job.phase != "ended" and job.due <= state.now]
        again = [
            state.reap(job, empty, self._settings.max_attempts)
            for job in sorted(due, key=lambda job: (job.due, job.new.id))[:limit]
        ]
        return [publication for publication in again if publication]

    def fail_unserved(self, queue: str, message: str, limit: int = 100) -> int:
        unserved = self._state.waiting(queue)[:limit] + self._state.published(queue)[:limit]
        for job in unserved:
            self._state.fail(job, "model_not_available", message)
        return len(unserved)

    def unsaved(self, older_than_s: float, limit: int = 100) -> list[str]:
        horizon = self._state.now - int(older_than_s * 1000)
        old = {job_id: at for job_id, at in self._state.unsaved.items() if at <= horizon}
        return _by_time(old)[:limit]

    def saved(self, job: JobRecord) -> None:
        state = self._state
        known = state.knows_since is not None and state.knows_since <= job.created_at
        if job.id not in state.jobs and known:
            state.garbage[job_folder(job.id)] = state.now
        self._save(job.id, job.version)

    def nothing_to_save(self, job_id: str) -> None:
        self._save(job_id, 0)

    def _save(self, job_id: str, version: int) -> None:
        job = self._state.jobs.get(job_id)
        if job is None or job.erase or job.version == version:
            self._state.unsaved.pop(job_id, None)
        else:
            job.version += 1
            self._state.unsaved[job_id] = self._state.now

    def expire(self, limit: int = 100) -> int:
        state = self._state
        jobs = [job for job in state.jobs.values() if job.phase == "ended" and not job.new.batch]
        files = {f"file:{i}": file for i, file in state.files.items() if not file.deleted}
        expires = {f"job:{job.new.id}": job.expires_at for job in jobs}
        expires |= {name: file.record.expires_at for name, file in files.items()}
        batches = {f"batch:{i}": batch for i, batch in state.batches.items()}
        expires |= {name: batch.record.expires_at or FOREVER for name, batch in batches.items()}
        due = _by_time({name: at for name, at in expires.items() if at <= state.now})[:limit]
        for name in due:
            if file := files.get(name):
                file.deleted = True
                state.drop(file.record.id)
            elif batch := batches.get(name):
                state.erase_batch(batch)
            else:
                state.erase(state.jobs[name.removeprefix("job:")])
        return len(due)

    def garbage(self, limit: int = 100) -> list[str]:
        return _by_time(self._state.garbage)[:limit]

    def erased(self, key: str) -> None:
        self._state.garbage.pop(key, None)

    def take_turn(self, name: str, every_s: float) -> bool:
        if name in self._state.turns:
            return False
        self._state.turns[name] = self._state.now + int(every_s * 1000)
        return True

    def keep_turn(self, name: str, every_s: float) -> None:
        if name in self._state.turns:
            self._state.turns[name] = self._state.now + int(every_s * 1000)

    def cursor(self, name: str) -> str:
        return self._state.cursors.get(name, "")

    def set_cursor(self, name: str, value: str) -> None:
        self._state.cursors[name] = value

    def knows_since(self) -> int:
        self._state.remember()
        return self._state.knows_since or 0

    def knows_everything(self) -> None:
        self._state.knows_since = 0

    def restore(self, job: JobRecord, fence: int) -> bool:
        state = self._state
        if job.id in state.jobs or job_folder(job.id) in state.garbage:
            return False
        state.remember()
        state.job_number += 1
        restored = _job_state(job, state.job_number, fence)
        state.jobs[job.id] = restored
        state.keep_request(job.tenant, job.idempotency, job.id, job.created_at)
        if job.status is JobStatus.CANCELING:
            state.finish(restored, JobStatus.CANCELED)
        elif not job.status.terminal:
            state.enqueue(restored)
            state.mark_unsaved(restored)
        return True

    def restore_file(self, record: FileRecord) -> bool:
        state = self._state
        if record.id in state.files or record.key in state.garbage:
            return False
        state.remember()
        state.files[record.id] = FileState(record)
        return True


def _job_state(job: JobRecord, number: int, fence: int) -> JobState:
    known = JobRecord.model_fields.keys() - {"steps", "fence"}
    planned = {name: getattr(job, name) for name in NewJob.model_fields.keys() & known}
    own = {name: getattr(job, name) for name in JobState.__dataclass_fields__.keys() & known}
    return JobState(
        new=NewJob(
            steps=tuple(record.step for record in job.steps),
            retention_s=job.retention_ms / 1000,
            **planned,
        ),
        number=number,
        fence=fence,
        phase="ended" if job.status.terminal else "waiting",
        steps=[StepState(**dict(record)) for record in job.steps],
        **own,
    )


def _by_time(moments: dict[str, int]) -> list[str]:
    return sorted(moments, key=lambda name: (moments[name], name))
