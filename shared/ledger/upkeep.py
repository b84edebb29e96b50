"""The ledger as reapers see it: what is overdue, what S3 lacks, what may go, what comes back."""

from collections.abc import Iterable

from shared.contracts import FileRecord, JobRecord
from shared.ledger.records import Publication, file_fields, job_fields, publication
from shared.ledger.server import PUBLISH_GRACE_MS, LedgerServer, translated


class Upkeep(LedgerServer):
    """Every call does a bounded amount of work, and any number of reapers may call.

    Each raises LedgerUnavailable.
    """

    # What is overdue

    def queues(self) -> dict[str, int]:
        """Every queue that ever held a step, with the number of unclaimed steps in it."""
        with translated():
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
        return [publication(row) for row in rows]

    def fail_unserved(self, queue: str, message: str, limit: int = 100) -> int:
        """Fail what waits in a queue that no live worker serves."""
        return int(self._run("unserved", queue, limit, message))

    # What S3 lacks

    def unsaved(self, older_than_s: float, limit: int = 100) -> list[str]:
        """Jobs whose manifest in S3 has been behind for some time, longest first."""
        with translated():
            seconds, micros = self._redis.time()
            horizon = seconds * 1000 + micros // 1000 - int(older_than_s * 1000)
            jobs: list[str] = self._redis.zrangebyscore("unsaved", "-inf", horizon, 0, limit)
        return jobs

    def saved(self, job: JobRecord) -> None:
        """SAVED: this manifest was written. If it is not the newest it is written again; if the
        job was erased meanwhile, it becomes garbage."""
        self._run("saved", job.id, job.version, job.created_at)

    def nothing_to_save(self, job_id: str) -> None:
        """The job is gone, or about to be: it needs no manifest."""
        self._run("saved", job_id, 0, 0)

    # What may go

    def expire(self, limit: int = 100) -> int:
        """EXPIRE: erase what was kept as long as was promised; returns how many were handled."""
        return int(self._run("expire", limit))

    def garbage(self, limit: int = 100) -> list[str]:
        """Object keys to erase; one that ends in a slash is a prefix."""
        with translated():
            keys: list[str] = self._redis.zrange("garbage", 0, limit - 1)
        return keys

    def erased(self, key: str) -> None:
        """The garbage behind this key is gone."""
        with translated():
            self._redis.zrem("garbage", key)

    # Turns and cursors, for work that not every reaper should do at once

    def take_turn(self, name: str, every_s: float) -> bool:
        """Whether this caller is the one to do `name` now; then none is for `every_s` seconds.

        It is no lock: what is done in a turn must be safe to do twice.
        """
        with translated():
            return bool(self._redis.set(f"turn:{name}", 1, nx=True, px=int(every_s * 1000)))

    def keep_turn(self, name: str, every_s: float) -> None:
        """By who took the turn: it takes longer, so that it is nobody else's for `every_s` more."""
        with translated():
            self._redis.pexpire(f"turn:{name}", int(every_s * 1000))

    def cursor(self, name: str) -> str:
        """How far the work `name` has come; empty at its beginning."""
        with translated():
            return self._redis.hget("cursors", name) or ""

    def set_cursor(self, name: str, value: str) -> None:
        """Say how far the work `name` has come."""
        with translated():
            self._redis.hset("cursors", name, value)

    # What comes back

    def knows_since(self) -> int:
        """Milliseconds since which the ledger knows of every object in S3.

        A ledger that lost everything begins at its first word. What is older than that may
        belong to jobs it has not been told of yet, and must not be taken for an orphan.
        """
        return int(self._run("knows_since"))

    def knows_everything(self) -> None:
        """Every job in S3 was restored: the ledger knows of each object, however old."""
        with translated():
            self._redis.set("knows_since", 0)

    def restore(self, job: JobRecord, fence: int) -> bool:
        """RESTORE: put a job back from its manifest; False and no change where it is there.

        Nor does a job come back whose objects wait to be erased. One that had not ended waits
        for its current step again, its next lease with a fence above `fence`, which must be no
        lower than any that its workers held.
        """
        return bool(self._run("restore", job.id, job.status, *job_fields(job, fence)))

    def restore_file(self, record: FileRecord) -> bool:
        """RESTORE_FILE: put an upload's record back with its times; False where it is there."""
        times = record.created_at, record.expires_at
        fields = file_fields(record)
        return bool(self._run("restore_file", record.id, record.key, *times, *fields))
