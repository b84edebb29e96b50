"""The ledger of batches: which there are, which of their chunks are open, and how many ended how.

Every call may be repeated after a lost answer. Any number of keepers may work at one batch: what
two of them do at once, one of them does in vain.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.batches import BatchProblem, BatchRecord, NewBatch, OpenChunk, PausedBy
from shared.contracts import JobStatus
from shared.errors import Conflict, IdempotencyConflict, NotFound
from shared.ledger.batch_records import (
    MAX_OUTCOMES,
    BatchPage,
    Pace,
    batch_fields,
    batch_record,
    restored,
)
from shared.ledger.records import Submitted
from shared.ledger.server import LedgerServer, translated


class Batches(LedgerServer):
    """What clients and keepers ask and tell of batches. Each call raises LedgerUnavailable; those
    that name a batch raise NotFound where it is not there."""

    # As clients see them

    def create_batch(self, new: NewBatch, idempotency: tuple[str, str] | None = None) -> Submitted:
        """On disk when this returns. `idempotency` is (key, digest of the body).

        Raises NotFound where one of its files is not there, IdempotencyConflict where the key
        stands for another body.
        """
        key, body_hash = idempotency or ("", "")
        answer, subject = self._run(
            "batch_create",
            new.id,
            new.tenant,
            json.dumps(new.request),
            json.dumps(new.metadata),
            new.base_url,
            json.dumps(new.files),
            int(new.start_paused),
            int(new.retention_s * 1000),
            int((new.completion_window_s or 0) * 1000),
            key,
            body_hash,
        )
        if answer == "conflict":
            raise IdempotencyConflict("the Idempotency-Key was used with another request")
        if answer == "missing":
            raise NotFound(f"no such file: {subject}")
        return Submitted(subject, answer == "created")

    def batch(self, batch_id: str) -> BatchRecord:
        with translated():
            pipe = self._redis.pipeline()
            pipe.hgetall(f"batch:{batch_id}")
            pipe.hgetall(f"batch:{batch_id}:open")
            pipe.zcard(f"batch:{batch_id}:redo")
            fields, opened, redo = pipe.execute()
        if not fields:
            raise NotFound(f"no such batch: {batch_id}")
        return batch_record(fields, opened, redo)

    def batches(self, tenant: str, *, limit: int = 20, after: str | None = None) -> BatchPage:
        """A tenant's batches, newest first; `after` is the last one of the page before."""
        cursor = "+inf"
        with translated():
            if after:
                number, owner = self._redis.hmget(f"batch:{after}", "seq", "tenant")
                if owner != tenant:
                    raise NotFound(f"no such batch: {after}")
                cursor = f"({number}"
            ids = self._redis.zrevrangebyscore(f"batches:{tenant}", cursor, "-inf", 0, limit)
        found = []
        for batch_id in ids:
            try:
                found.append(self.batch(batch_id))
            except NotFound:  # erased since
                continue
        return BatchPage(found, ids[-1] if len(ids) == limit else None)

    def pause_batch(self, batch_id: str, by: PausedBy = "user") -> BatchRecord:
        """Open no more chunks. A user's pause outlives the schedule's. Raises Conflict."""
        return self._move("batch_pause", batch_id, by)

    def resume_batch(self, batch_id: str) -> BatchRecord:
        """Raises Conflict."""
        return self._move("batch_resume", batch_id)

    def cancel_batch(self, batch_id: str) -> BatchRecord:
        """Open no more chunks; once the open ones are closed, the batch ends as cancelled.

        Raises Conflict where it ended otherwise, or is about to.
        """
        return self._move("batch_cancel", batch_id, "cancelled")

    def retry_batch(self, batch_id: str) -> BatchRecord:
        """Do the chunks with failures of an ended batch again, and go on with those that were
        never opened. Raises Conflict, also where there is nothing to be done."""
        return self._move("batch_retry", batch_id)

    def delete_batch(self, batch_id: str) -> None:
        """Forget the batch and its jobs; its objects become garbage."""
        self._answered(batch_id, self._run("batch_delete", batch_id))

    # As keepers see them

    def active_batches(self) -> list[str]:
        """Those that have not ended, oldest first."""
        with translated():
            ids: list[str] = self._redis.zrange("batches:active", 0, -1)
        return ids

    def indexed(self, batch_id: str, chunks: int, total: int, bytes_: int) -> BatchRecord:
        """The index lies in S3: `validating` → `in_progress`, or `paused` where that is wanted.

        `bytes_` are the source's. A batch that was canceled meanwhile stays as it is.
        """
        return self._move("batch_indexed", batch_id, chunks, total, bytes_)

    def fail_batch(self, batch_id: str, problems: Sequence[BatchProblem]) -> BatchRecord:
        """The source is of no use: `validating` → `failed`."""
        listed = [problem.model_dump() for problem in problems]
        return self._move("batch_fail", batch_id, json.dumps(listed))

    def open_chunk(self, batch_id: str, window: int) -> tuple[int, OpenChunk] | None:
        """OPEN: the chunk to be done next, if the batch is in progress and fewer than `window` are
        open; first those that are to be done again.

        One whose answer was lost stands among the record's open ones, without jobs.
        """
        answer = self._run("batch_open", batch_id, window)
        return (answer[0], OpenChunk(opening=answer[1])) if answer else None

    def chunk_jobs(self, batch_id: str, chunk: int, opening: int, jobs: Sequence[str]) -> bool:
        """Say which jobs an opened chunk is made of, all of them submitted; after a split again.

        False where it is not open under this opening.
        """
        return bool(self._run("batch_jobs", batch_id, chunk, opening, json.dumps(jobs)))

    def close_chunk(
        self,
        batch_id: str,
        chunk: int,
        opening: int,
        completed: int,
        failed: int,
        codes: Mapping[str, int],
    ) -> bool:
        """CLOSE: the chunk's results lie in S3. Counts its items, in place of what an earlier
        closing said of them, and erases its jobs, at work or not. After the last one the batch is
        `finalizing`.

        `codes`: of the failed items' errors. False where it is not open under this opening.
        """
        numbers = json.dumps({"completed": completed, "failed": failed, "codes": dict(codes)})
        return bool(self._run("batch_close", batch_id, chunk, opening, numbers))

    def expire_batch(self, batch_id: str) -> BatchRecord:
        """The completion window passed: as a cancel, but the batch ends as expired."""
        return self._move("batch_cancel", batch_id, "expired")

    def finished(
        self, batch_id: str, output_file_id: str | None, error_file_id: str | None
    ) -> BatchRecord:
        """The results are joined: `finalizing` → `completed`, `cancelled` or `expired`."""
        return self._move("batch_finished", batch_id, output_file_id or "", error_file_id or "")

    def note_batch(self, batch_id: str, notes: Mapping[str, Any]) -> None:
        """Keep small things by name beside the batch; a later value replaces an earlier one."""
        fields = [text for name, value in notes.items() for text in (name, json.dumps(value))]
        self._answered(batch_id, self._run("batch_note", batch_id, *fields))

    def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        """Where each job stands; None of one that is gone."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipe.hget(f"job:{job_id}", "status")
            found = pipe.execute()
        return [JobStatus(status) if status else None for status in found]

    # Measured history

    def note_pace(self, signature: str, items: int, ms: float) -> None:
        """That many items of this kind of work took so long."""
        self._run("batch_pace", signature, items, ms)

    def pace(self, signature: str) -> Pace | None:
        """How fast such work went of late; None where none was done for a while."""
        with translated():
            items, ms = self._redis.hmget(f"pace:{signature}", "items", "ms")
        return Pace(float(items), float(ms)) if items else None

    def note_outcome(self, signature: str, outcome: Mapping[str, Any]) -> None:
        """What came of a batch of this kind of work; saying so again changes nothing."""
        text = json.dumps(outcome, sort_keys=True)
        self._run("batch_outcome", signature, text, MAX_OUTCOMES)

    def outcomes(self, signature: str) -> list[dict[str, Any]]:
        """The latest ones, newest first."""
        with translated():
            found = self._redis.lrange(f"outcomes:{signature}", 0, -1)
        return [json.loads(text) for text in found]

    # What comes back

    def restore_batch(self, batch: BatchRecord, closed: Mapping[int, Mapping[str, int]]) -> bool:
        """Put a batch back from its manifest; False and no change where it is there, or is to be
        erased. `closed`: per chunk whose results lie in S3, its failed items by error code."""
        found = restored(batch, closed)
        failed = {chunk: json.dumps(told) for chunk, told in found.failed.items()}
        return bool(
            self._run(
                "batch_restore",
                batch.id,
                batch.status,
                json.dumps(sorted(found.redo)),
                json.dumps(failed),
                *batch_fields(found.batch),
            )
        )

    def _move(self, script: str, batch_id: str, *args: Any) -> BatchRecord:
        self._answered(batch_id, self._run(script, batch_id, *args))
        return self.batch(batch_id)

    def _answered(self, batch_id: str, answer: str) -> None:
        if answer == "gone":
            raise NotFound(f"no such batch: {batch_id}")
        if answer != "ok":
            raise Conflict(f"the batch is {answer}")
