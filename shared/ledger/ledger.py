"""The ledger: where every job stands, in a Redis of its own.

Each transition is one atomic script of `lua/`, on the server's clock. What a caller may
repeat after a lost answer (SUBMIT, CLAIM, COMMIT, CANCEL) gives the same answer again.
"""

import json
from collections.abc import Mapping, Sequence

from shared.contracts import FileRecord, JobRecord, JobStatus, NewJob, StepOutput, WorkerRecord
from shared.errors import ChunkClosed, IdempotencyConflict, ImagemillError, NotFound
from shared.ledger.batches import Batches
from shared.ledger.records import (
    Claim,
    Outcome,
    Page,
    Publication,
    Renewal,
    Submitted,
    file_fields,
    file_of,
    job_record,
    publication,
)
from shared.ledger.server import PUBLISH_GRACE_MS, translated
from shared.ledger.upkeep import Upkeep

LIST_SCAN = 10_000  # how many jobs one filtered listing looks at
WORKER_TTL_MS = 15_000


class Ledger(Upkeep, Batches):
    """The ledger as clients and workers see it, with `Upkeep` as its reapers do, and with `Batches`
    as keepers do."""

    # Jobs, as clients see them

    def submit(self, job: NewJob, idempotency: tuple[str, str] | None = None) -> Submitted:
        """SUBMIT: on disk when this returns. `idempotency` is (key, digest of the body).

        Raises IdempotencyConflict where the key stands for another body, NotFound where one of
        the job's files is gone, ChunkClosed where it comes too late for its place in a batch,
        LedgerUnavailable.
        """
        key, body_hash = idempotency or ("", "")
        answer, subject = self._run(
            "submit",
            job.id,
            job.tenant,
            job.kind,
            job.priority,
            json.dumps(job.input),
            json.dumps(job.metadata),
            json.dumps([step.model_dump() for step in job.steps]),
            json.dumps([step.queue(job.priority) for step in job.steps]),
            json.dumps(job.files),
            int((job.deadline_s or 0) * 1000),
            int(job.retention_s * 1000),
            key,
            body_hash,
            job.batch.model_dump_json() if job.batch else "",
            json.dumps([item.model_dump() for item in job.items]),
        )
        if answer == "closed":
            raise ChunkClosed(f"the chunk that {subject} belongs to is closed")
        if answer == "missing":
            raise NotFound(f"no such file: {subject}")
        if answer == "conflict":
            raise IdempotencyConflict("the Idempotency-Key was used with another request")
        return Submitted(subject, answer == "created")

    def find_idempotent(self, tenant: str, key: str) -> tuple[str, str] | None:
        """(job id, digest of the body) that an Idempotency-Key stands for."""
        with translated():
            job, body_hash = self._redis.hmget(f"idempotency:{tenant}:{key}", "job", "hash")
        return (job, body_hash) if job else None

    def get(self, job_id: str) -> JobRecord:
        """Raises NotFound, also for a job that is being erased."""
        with translated():
            fields = self._redis.hgetall(f"job:{job_id}")
        if not fields or "erase" in fields:
            raise NotFound(f"no such job: {job_id}")
        return job_record(fields)

    def jobs(
        self,
        tenant: str,
        *,
        status: JobStatus | None = None,
        kind: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page:
        """A tenant's jobs, newest first, after the cursor of the page before."""
        index = f"jobs:{tenant}:{status}" if status else f"jobs:{tenant}"
        cursor = f"({int(after)}" if after else "+inf"
        found: list[JobRecord] = []
        scanned = 0
        while scanned < LIST_SCAN:
            with translated():
                entries = self._redis.zrevrangebyscore(
                    index, cursor, "-inf", start=0, num=limit, withscores=True
                )
                pipe = self._redis.pipeline(transaction=False)
                for job_id, _ in entries:
                    pipe.hgetall(f"job:{job_id}")
                records = pipe.execute()
            for (_, number), fields in zip(entries, records, strict=True):
                cursor = f"({int(number)}"
                if fields and "erase" not in fields and kind in (None, fields["kind"]):
                    found.append(job_record(fields))
                if len(found) == limit:
                    return Page(found, cursor[1:])
            scanned += len(entries)
            if len(entries) < limit:
                return Page(found, None)
        return Page(found, cursor[1:])

    def cancel(self, job_id: str) -> JobRecord:
        """CANCEL: ends the job now, or asks its worker to stop. Raises NotFound."""
        if self._run("cancel", job_id, 0) == "gone":
            raise NotFound(f"no such job: {job_id}")
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """End the job and forget it with everything it made. Raises NotFound."""
        if self._run("cancel", job_id, 1) == "gone":
            raise NotFound(f"no such job: {job_id}")

    def queue_position(self, job: JobRecord) -> int | None:
        """How many steps wait before this job's; None when it does not wait."""
        queue = job.steps[job.current].step.queue(job.priority)
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zrank(f"published:{queue}", job.id)
            pipe.zrank(f"waiting:{queue}", job.id)
            pipe.zcard(f"published:{queue}")
            published, waiting, ahead = pipe.execute()
        if published is not None:
            return int(published)
        return None if waiting is None else int(waiting) + int(ahead)

    # Files

    def put_file(self, record: FileRecord) -> FileRecord:
        """Record an upload; one that is there already is kept, and its record returned."""
        retention_ms = record.expires_at - record.created_at
        self._run("put_file", record.id, record.key, retention_ms, *file_fields(record))
        return self.get_file(record.tenant, record.id)

    def get_file(self, tenant: str, file_id: str) -> FileRecord:
        """Raises NotFound."""
        found = self.files(tenant, [file_id])
        if not found:
            raise NotFound(f"no such file: {file_id}")
        return found[file_id]

    def files(self, tenant: str, ids: Sequence[str]) -> dict[str, FileRecord]:
        """Those of these files that are there, by id."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for file_id in ids:
                pipe.hgetall(f"file:{file_id}")
            found = pipe.execute()
        return {
            file_id: file_of(fields)
            for file_id, fields in zip(ids, found, strict=True)
            if fields and fields["tenant"] == tenant and "deleted" not in fields
        }

    def file_key(self, file_id: str) -> tuple[str, str, int]:
        """(key, sha256, bytes) of a file that a job needs, deleted by its owner or not."""
        with translated():
            key, sha256, size = self._redis.hmget(f"file:{file_id}", "key", "sha256", "bytes")
        if key is None:
            raise NotFound(f"no such file: {file_id}")
        return key, sha256, int(size)

    def delete_file(self, tenant: str, file_id: str) -> None:
        """Forget an upload; its bytes go once no unfinished job needs them. Raises NotFound."""
        if self._run("delete_file", file_id, tenant) == "gone":
            raise NotFound(f"no such file: {file_id}")

    # Steps, as workers see them

    def admit(self, queue: str) -> list[Publication]:
        """ADMIT: what may go to the broker now. The caller publishes it."""
        rows = self._run("admit", queue, self._settings.admit_per_queue, PUBLISH_GRACE_MS)
        return [publication(row) for row in rows]

    def claim(self, job_id: str, step: int, worker: str, token: str) -> Claim:
        """CLAIM: take the lease of a step; `token` is new for every message."""
        answer = self._run(
            "claim",
            job_id,
            step,
            worker,
            token,
            int(self._settings.lease_s * 1000),
            int(self._settings.step_timeout_s * 1000),
        )
        match answer:
            case ["ok", fence, attempt, others_wait]:
                return Claim("ok", fence, attempt, bool(others_wait))
            case ["stale", unclaimed]:
                return Claim("stale", next_unclaimed=bool(unclaimed))
            case [state]:
                return Claim(state)
        raise ImagemillError(f"CLAIM answered {answer}")

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
        """RENEW: keep the lease; `progress` is the step's, from 0 to 1, and `metrics` are its
        current numbers. `saved`: the step can go on from where it is, so that its time limit
        and the count of its attempts start anew."""
        answer: Renewal = self._run(
            "renew",
            job_id,
            step,
            fence,
            f"{progress:.4f}",
            message,
            json.dumps(metrics) if metrics else "",
            int(self._settings.lease_s * 1000),
            int(self._settings.step_timeout_s * 1000) if saved else "",
        )
        return answer

    def commit(self, job_id: str, step: int, fence: int, output: StepOutput) -> Outcome:
        """COMMIT: `next` | `succeeded` | `already` | `canceled` | `fenced`."""
        answer: Outcome = self._run(
            "commit", job_id, step, fence, output.model_dump_json(), PUBLISH_GRACE_MS
        )
        return answer

    def fail(
        self, job_id: str, step: int, fence: int, error: ImagemillError, delay_s: float = 1.0
    ) -> Outcome:
        """FAIL: `retry` | `failed` | `canceled` | `fenced`, as the error's class allows."""
        answer: Outcome = self._run(
            "fail",
            job_id,
            step,
            fence,
            error.code,
            error.message,
            int(error.retryable),
            int(error.burns_attempt),
            int(delay_s * 1000),
            self._settings.max_attempts,
        )
        return answer

    def release(self, job_id: str, step: int, fence: int) -> Outcome:
        """RELEASE: `released` | `canceled` | `fenced`; costs no attempt."""
        answer: Outcome = self._run("release", job_id, step, fence)
        return answer

    def heartbeat(self, worker: WorkerRecord) -> None:
        """Say that a worker lives; it counts as gone WORKER_TTL_MS after its last word."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.set(f"worker:{worker.name}", worker.model_dump_json(), px=WORKER_TTL_MS)
            pipe.sadd("workers", worker.name)
            pipe.execute()

    def goodbye(self, name: str) -> None:
        """Say that a worker stops."""
        with translated():
            self._redis.delete(f"worker:{name}")
            self._redis.srem("workers", name)

    def workers(self) -> list[WorkerRecord]:
        """The live workers, by name."""
        with translated():
            names = sorted(self._redis.smembers("workers"))
            found = self._redis.mget([f"worker:{name}" for name in names]) if names else []
            gone = [name for name, text in zip(names, found, strict=True) if text is None]
            if gone:
                self._redis.srem("workers", *gone)
        return [WorkerRecord.model_validate_json(text) for text in found if text]
