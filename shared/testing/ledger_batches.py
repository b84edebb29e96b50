"""The in-memory twin of `shared.ledger.batches`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shared.batches import (
    BatchProblem,
    BatchRecord,
    BatchStatus,
    Ending,
    NewBatch,
    OpenChunk,
    PausedBy,
)
from shared.contracts import JobStatus
from shared.errors import Conflict, NotFound
from shared.layout import batch_folder
from shared.ledger.batch_records import MAX_OUTCOMES, STOPPED, BatchPage, Pace, restored
from shared.ledger.batches import Batches
from shared.ledger.records import Submitted
from shared.testing.ledger_records import BatchState
from shared.testing.ledger_state import DAY_MS
from shared.testing.ledger_upkeep import MemoryUpkeep, public_methods_atomic

ENDED = "finalizing", "completed", "expired", "cancelling", "cancelled", "expires"


@public_methods_atomic
class MemoryBatches(MemoryUpkeep, Batches):
    """What the twin does for batches."""

    # As clients see them

    def create_batch(self, new: NewBatch, idempotency: tuple[str, str] | None = None) -> Submitted:
        state, now = self._state, self._state.now
        if new.id in state.batches:
            return Submitted(new.id, True)
        if repeated := state.repeated_request(new.tenant, idempotency):
            return repeated
        for file_id in new.files:
            if not state.has_file(new.tenant, file_id):
                raise NotFound(f"no such file: {file_id}")
        given = NewBatch.model_validate_json(new.model_dump_json())
        window_ms = int((new.completion_window_s or 0) * 1000) or None
        record = BatchRecord(
            status=BatchStatus.VALIDATING,
            idempotency=idempotency,
            created_at=now,
            window_ms=window_ms,
            deadline_at=now + window_ms if window_ms else None,
            retention_ms=int(new.retention_s * 1000),
            **given.model_dump(exclude={"retention_s", "completion_window_s"}),
        )
        state.batch_number += 1
        state.batches[new.id] = BatchState(record, state.batch_number)
        state.keep_request(new.tenant, idempotency, new.id, now)
        state.remember()
        return Submitted(new.id, True)

    def batch(self, batch_id: str) -> BatchRecord:
        batch = self._batch(batch_id)
        return batch.record.model_copy(update={"redo": len(batch.redo)})

    def batches(self, tenant: str, *, limit: int = 20, after: str | None = None) -> BatchPage:
        own = [b for b in self._state.batches.values() if b.record.tenant == tenant]
        if after:
            last = self._state.batches.get(after)
            if last not in own:
                raise NotFound(f"no such batch: {after}")
            own = [batch for batch in own if last and batch.number < last.number]
        own = sorted(own, key=lambda batch: -batch.number)[:limit]
        found = [self.batch(batch.record.id) for batch in own]
        return BatchPage(found, found[-1].id if len(found) == limit else None)

    def pause_batch(self, batch_id: str, by: PausedBy = "user") -> BatchRecord:
        batch = self._batch(batch_id)
        match batch.record.status:
            case BatchStatus.IN_PROGRESS:
                batch.set_status(BatchStatus.PAUSED, self._state.now)
                batch.set(paused_by=by)
            case BatchStatus.PAUSED:
                batch.set(paused_by="user" if by == "user" else batch.record.paused_by)
            case BatchStatus.VALIDATING if by == "user":
                batch.set(start_paused=True)
            case status:
                raise Conflict(f"the batch is {status}")
        return self.batch(batch_id)

    def resume_batch(self, batch_id: str) -> BatchRecord:
        batch = self._batch(batch_id)
        match batch.record.status:
            case BatchStatus.PAUSED:
                batch.set_status(BatchStatus.IN_PROGRESS, self._state.now)
            case BatchStatus.VALIDATING:
                batch.set(start_paused=False)
            case BatchStatus.IN_PROGRESS:
                pass
            case status:
                raise Conflict(f"the batch is {status}")
        return self.batch(batch_id)

    def cancel_batch(self, batch_id: str) -> BatchRecord:
        return self._stop(batch_id, BatchStatus.CANCELLED)

    def expire_batch(self, batch_id: str) -> BatchRecord:
        return self._stop(batch_id, BatchStatus.EXPIRED)

    def _stop(self, batch_id: str, ends_as: Ending) -> BatchRecord:
        batch = self._batch(batch_id)
        status = batch.record.status
        if status.terminal and status is not ends_as:
            raise Conflict(f"the batch is {status}")
        if not status.terminal and batch.record.ends_as is BatchStatus.COMPLETED:
            if status is BatchStatus.FINALIZING:
                raise Conflict(f"the batch is {status}")
            batch.set(ends_as=ends_as)
            batch.set_status(BatchStatus.CANCELLING, self._state.now)
            batch.settle(self._state.now)
        return self.batch(batch_id)

    def retry_batch(self, batch_id: str) -> BatchRecord:
        batch = self._batch(batch_id)
        record = batch.record
        if record.status is BatchStatus.FAILED or record.status in STOPPED:
            raise Conflict(f"the batch is {record.status}")
        if not record.status.terminal:
            if not record.retries:
                raise Conflict(f"the batch is {record.status}")
            return self.batch(batch_id)
        batch.redo |= batch.failed.keys()
        indexed = record.chunks is not None
        if indexed and not batch.chunks_left:
            raise Conflict(f"the batch is {record.status}, and nothing is left to do")
        batch.set(
            **{f"{name}_at": None for name in ENDED},
            output_file_id=None,
            error_file_id=None,
            ends_as=BatchStatus.COMPLETED,
            deadline_at=self._state.now + record.window_ms if record.window_ms else None,
            retries=record.retries + 1,
        )
        batch.set_status(
            BatchStatus.IN_PROGRESS if indexed else BatchStatus.VALIDATING, self._state.now
        )
        return self.batch(batch_id)

    def delete_batch(self, batch_id: str) -> None:
        self._state.erase_batch(self._batch(batch_id))

    # As keepers see them

    def active_batches(self) -> list[str]:
        active = [b for b in self._state.batches.values() if not b.record.status.terminal]
        return [batch.record.id for batch in sorted(active, key=lambda batch: batch.number)]

    def indexed(self, batch_id: str, chunks: int, total: int, bytes_: int) -> BatchRecord:
        batch = self._batch(batch_id)
        if batch.record.status is BatchStatus.VALIDATING:
            paused = batch.record.start_paused
            counts = batch.record.counts.model_copy(update={"total": total})
            batch.set(chunks=chunks, counts=counts, bytes=bytes_, start_paused=False)
            batch.set_status(
                BatchStatus.PAUSED if paused else BatchStatus.IN_PROGRESS, self._state.now
            )
            batch.set(paused_by="user" if paused else None)
        return self.batch(batch_id)

    def fail_batch(self, batch_id: str, problems: Sequence[BatchProblem]) -> BatchRecord:
        batch = self._batch(batch_id)
        if batch.record.status is BatchStatus.VALIDATING:
            batch.set(problems=tuple(problems))
            batch.set_status(BatchStatus.FAILED, self._state.now)
            self._state.let_files_go(batch.record.files)
        return self.batch(batch_id)

    def open_chunk(self, batch_id: str, window: int) -> tuple[int, OpenChunk] | None:
        batch = self._state.batches.get(batch_id)
        if batch is None or batch.record.status is not BatchStatus.IN_PROGRESS:
            return None
        record = batch.record
        if len(record.open) >= window or not batch.chunks_left:
            return None
        if batch.redo:
            chunk = min(batch.redo)
            batch.redo.remove(chunk)
        else:
            chunk = record.next_chunk
            batch.set(next_chunk=chunk + 1)
        batch.opening = max(self._state.now, batch.opening + 1)
        opened = OpenChunk(opening=batch.opening)
        batch.set(open={**record.open, chunk: opened})
        return chunk, opened

    def chunk_jobs(self, batch_id: str, chunk: int, opening: int, jobs: Sequence[str]) -> bool:
        if not self._state.is_open(batch_id, chunk, opening):
            return False
        batch = self._batch(batch_id)
        opened = OpenChunk(opening=opening, jobs=tuple(jobs))
        batch.set(open={**batch.record.open, chunk: opened})
        return True

    def close_chunk(
        self,
        batch_id: str,
        chunk: int,
        opening: int,
        completed: int,
        failed: int,
        codes: Mapping[str, int],
    ) -> bool:
        if not self._state.is_open(batch_id, chunk, opening):
            return False
        batch = self._batch(batch_id)
        told = {"completed": completed, "failed": failed, "codes": dict(codes)}
        earlier = batch.failed.pop(chunk, {"completed": 0, "failed": 0, "codes": {}})
        if failed:
            batch.failed[chunk] = told
        record = batch.record
        counts = record.counts.model_copy(
            update={
                "completed": record.counts.completed + completed - earlier["completed"],
                "failed": record.counts.failed + failed - earlier["failed"],
            }
        )
        times = Counter(record.error_codes)
        times.update(codes)
        times.subtract(earlier["codes"])
        batch.set(
            counts=counts,
            error_codes={code: n for code, n in times.items() if n},
            open={n: opened for n, opened in record.open.items() if n != chunk},
        )
        self._state.erase_jobs(batch_id, opening)
        batch.settle(self._state.now)
        return True

    def finished(
        self, batch_id: str, output_file_id: str | None, error_file_id: str | None
    ) -> BatchRecord:
        batch = self._batch(batch_id)
        status, ends_as = batch.record.status, batch.record.ends_as
        if status is BatchStatus.FINALIZING:
            batch.set(output_file_id=output_file_id, error_file_id=error_file_id)
            batch.set_status(ends_as, self._state.now)
            self._state.let_files_go(batch.record.files)
        elif status is not ends_as:
            raise Conflict(f"the batch is {status}")
        return self.batch(batch_id)

    def note_batch(self, batch_id: str, notes: Mapping[str, Any]) -> None:
        batch = self._batch(batch_id)
        batch.set(notes={**batch.record.notes, **json.loads(json.dumps(notes))})

    def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        found = [self._state.jobs.get(job_id) for job_id in job_ids]
        return [job.status if job else None for job in found]

    def note_pace(self, signature: str, items: int, ms: float) -> None:
        known = self.pace(signature) or Pace(0, 0)
        pace = Pace(_mean(known.items, items), _mean(known.ms, ms))
        self._state.paces[signature] = pace, self._state.now + 90 * DAY_MS

    def pace(self, signature: str) -> Pace | None:
        known = self._state.paces.get(signature)
        return known[0] if known else None

    def note_outcome(self, signature: str, outcome: Mapping[str, Any]) -> None:
        known, given = self.outcomes(signature), json.loads(json.dumps(outcome))
        if given not in known:
            known = [given, *known][:MAX_OUTCOMES]
        self._state.outcomes[signature] = known, self._state.now + 90 * DAY_MS

    def outcomes(self, signature: str) -> list[dict[str, Any]]:
        known = self._state.outcomes.get(signature)
        return known[0] if known else []

    # What comes back

    def restore_batch(self, batch: BatchRecord, closed: Mapping[int, Mapping[str, int]]) -> bool:
        state = self._state
        if batch.id in state.batches or batch_folder(batch.id) in state.garbage:
            return False
        found = restored(batch, closed)
        state.batch_number += 1
        known = BatchState(found.batch, state.batch_number, 0, found.failed, found.redo)
        state.batches[batch.id] = known
        if not batch.status.terminal:
            known.settle(self._state.now)
        state.keep_request(batch.tenant, batch.idempotency, batch.id, batch.created_at)
        state.remember()
        return True

    def _batch(self, batch_id: str) -> BatchState:
        batch = self._state.batches.get(batch_id)
        if batch is None:
            raise NotFound(f"no such batch: {batch_id}")
        return batch


def _mean(known: float, new: float) -> float:
    return float(f"{known * 7 / 8 + new:.3f}")
