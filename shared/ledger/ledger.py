"""The ledger: where every job stands, in a Redis of its own.

Each transition is one atomic script of `lua/`, on the server's clock. What a caller may
repeat after a lost answer (SUBMIT, CLAIM, COMMIT, CANCEL) gives the same answer again.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.commands.core import Script
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.contracts import FileRecord, JobRecord, JobStatus, NewJob, StepOutput, WorkerRecord
from shared.errors import (
    IdempotencyConflict,
    ImagemillError,
    LedgerUnavailable,
    NotFound,
    SettingsError,
)
from shared.ledger.records import (
    Claim,
    Outcome,
    Page,
    Publication,
    Renewal,
    Submitted,
    job_record,
)
from shared.settings import Settings

SCRIPTS = Path(__file__).with_name("lua")
PUBLISH_GRACE_MS = 10_000  # how long a message may travel before REAP asks whether it was lost
LIST_SCAN = 10_000  # how many jobs one filtered listing looks at
WORKER_TTL_MS = 15_000


@contextmanager
def _translated() -> Iterator[None]:
    """Any trouble with the server, also one that refuses writes, is LedgerUnavailable."""
    try:
        yield
    except RedisError as error:
        raise LedgerUnavailable(f"the ledger does not answer: {error}") from error


class Ledger:
    """The ledger over one Redis connection pool; safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client  # the library's types hide what decode_responses gives
        self._settings = settings
        prelude = (SCRIPTS / "common.lua").read_text(encoding="utf-8")
        self._scripts: dict[str, Script] = {
            file.stem: client.register_script(prelude + file.read_text(encoding="utf-8"))
            for file in SCRIPTS.glob("*.lua")
            if file.stem != "common"
        }

    @classmethod
    def connect(cls, settings: Settings) -> "Ledger":
        """A ledger at LEDGER_URL; the first call opens the connection."""
        client = redis.Redis.from_url(
            settings.ledger_url,
            decode_responses=True,
            socket_timeout=5,
            socket_connect_timeout=2,
            health_check_interval=15,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=2),
        )
        return cls(client, settings)

    def _run(self, script: str, *args: Any) -> Any:
        with _translated():
            return self._scripts[script](args=args)

    # The server

    def ping(self) -> None:
        """Raises LedgerUnavailable."""
        with _translated():
            self._redis.ping()

    def check(self) -> None:
        """Refuse a server that could forget jobs. Raises SettingsError, LedgerUnavailable."""
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        with _translated():
            for name, value in wanted.items():
                found = self._redis.config_get(name).get(name)
                if found != value:
                    raise SettingsError(
                        f"IMAGEMILL_LEDGER_URL: the server has {name} {found}, not {value}; "
                        "it would lose accepted jobs"
                    )

    def counters(self) -> dict[str, int]:
        """How often each transition happened since the ledger began."""
        with _translated():
            return {name: int(n) for name, n in self._redis.hgetall("counters").items()}

    # Jobs, as clients see them

    def submit(self, job: NewJob, idempotency: tuple[str, str] | None = None) -> Submitted:
        """SUBMIT: on disk when this returns. `idempotency` is (key, digest of the body).

        Raises IdempotencyConflict where the key stands for another body, NotFound where one of
        the job's files is gone, LedgerUnavailable.
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
        )
        if answer == "missing":
            raise NotFound(f"no such file: {subject}")
        if answer == "conflict":
            raise IdempotencyConflict("the Idempotency-Key was used with another request")
        return Submitted(subject, answer == "created")

    def find_idempotent(self, tenant: str, key: str) -> tuple[str, str] | None:
        """(job id, digest of the body) that an Idempotency-Key stands for."""
        with _translated():
            job, body_hash = self._redis.hmget(f"idempotency:{tenant}:{key}", "job", "hash")
        return (job, body_hash) if job else None

    def get(self, job_id: str) -> JobRecord:
        """Raises NotFound, also for a job that is being erased."""
        with _translated():
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
            with _translated():
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
        with _translated():
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
        self._run(
            "put_file",
            record.id,
            record.tenant,
            record.purpose,
            record.key,
            record.bytes,
            record.sha256,
            record.media_type,
            record.width or 0,
            record.height or 0,
            retention_ms,
        )
        return self.get_file(record.tenant, record.id)

    def get_file(self, tenant: str, file_id: str) -> FileRecord:
        """Raises NotFound."""
        with _translated():
            fields = self._redis.hgetall(f"file:{file_id}")
        if not fields or fields["tenant"] != tenant or "deleted" in fields:
            raise NotFound(f"no such file: {file_id}")
        return FileRecord.model_validate(
            {
                **fields,
                "width": int(fields["width"]) or None,
                "height": int(fields["height"]) or None,
            }
        )

    def file_key(self, file_id: str) -> tuple[str, str, int]:
        """(key, sha256, bytes) of a file that a job needs, deleted by its owner or not."""
        with _translated():
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
        return [_publication(row) for row in rows]

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
            case ["ok", fence, attempt]:
                return Claim("ok", fence, attempt)
            case ["stale", unclaimed]:
                return Claim("stale", next_unclaimed=bool(unclaimed))
            case [state]:
                return Claim(state)
        raise ImagemillError(f"CLAIM answered {answer}")

    def renew(
        self, job_id: str, step: int, fence: int, progress: float = 0.0, message: str = ""
    ) -> Renewal:
        """RENEW: keep the lease; `progress` is the step's, from 0 to 1."""
        lease_ms = int(self._settings.lease_s * 1000)
        answer: Renewal = self._run(
            "renew", job_id, step, fence, f"{progress:.4f}", message, lease_ms
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
        with _translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.set(f"worker:{worker.name}", worker.model_dump_json(), px=WORKER_TTL_MS)
            pipe.sadd("workers", worker.name)
            pipe.execute()

    def goodbye(self, name: str) -> None:
        """Say that a worker stops."""
        with _translated():
            self._redis.delete(f"worker:{name}")
            self._redis.srem("workers", name)

    def workers(self) -> list[WorkerRecord]:
        """The live workers, by name."""
        with _translated():
            names = sorted(self._redis.smembers("workers"))
            found = self._redis.mget([f"worker:{name}" for name in names]) if names else []
            gone = [name for name, text in zip(names, found, strict=True) if text is None]
            if gone:
                self._redis.srem("workers", *gone)
        return [WorkerRecord.model_validate_json(text) for text in found if text]

    # The reaper

    def queues(self) -> dict[str, int]:
        """Every queue that ever held a step, with the number of unclaimed steps in it."""
        with _translated():
            names = sorted(self._redis.smembers("queues"))
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.zcard(f"waiting:{name}")
                pipe.zcard(f"published:{name}")
            counts = pipe.execute()
        return {name: counts[2 * i] + counts[2 * i + 1] for i, name in enumerate(names)}

    def reap(self, idle: Iterable[str], limit: int = 1000) -> list[Publication]:
        """REAP: deal with what is overdue; `idle` are the queues that the broker has empty."""
        rows = self._run("reap", limit, PUBLISH_GRACE_MS, self._settings.max_attempts, *idle)
        return [_publication(row) for row in rows]

    def fail_unserved(self, queue: str, message: str, limit: int = 100) -> int:
        """Fail what waits in a queue that no live worker serves."""
        return int(self._run("unserved", queue, limit, message))

    def ended(self, older_than_s: float, limit: int = 100) -> list[str]:
        """Jobs that ended some time ago and still have no manifest."""
        with _translated():
            seconds, micros = self._redis.time()
            horizon = seconds * 1000 + micros // 1000 - int(older_than_s * 1000)
            jobs: list[str] = self._redis.zrangebyscore("ended", "-inf", horizon, 0, limit)
        return jobs

    def settled(self, job_id: str) -> None:
        """The job's manifest is written."""
        with _translated():
            self._redis.zrem("ended", job_id)

    def garbage(self, limit: int = 100) -> list[str]:
        """Object keys to erase; one that ends in a slash is a prefix."""
        with _translated():
            keys: list[str] = self._redis.zrange("garbage", 0, limit - 1)
        return keys

    def erased(self, key: str) -> None:
        """The garbage behind this key is gone."""
        with _translated():
            self._redis.zrem("garbage", key)


def _publication(row: list[Any]) -> Publication:
    job_id, step, queues = row
    return Publication(job_id, int(step), tuple(json.loads(queues)[int(step) :]))
