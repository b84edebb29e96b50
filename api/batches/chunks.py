"""The chunks of a batch that are at work: as many as its workers need, and no more."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from api.batches.collecting import Closed, collect
from api.batches.notes import noted
from api.batches.opening import fill
from api.batches.reuse import Known
from api.services import Services
from shared.batches import BatchRecord, BatchStatus, OpenChunk
from shared.parallel import parallel_map

AT_ONCE = 4
PER_TURN = 16  # opened, and closed, before the next batch is looked after
PER_WORKER = 3  # for each step of the batch's jobs, and each worker that runs it
LEAST, MOST = 2, 64


@dataclass
class Pace:
    """What is remembered of a batch at work. Times are of the monotonic clock."""

    queues: frozenset[str] = frozenset()  # that its jobs go through
    closed_at: float | None = None  # when chunks were closed last; None while none is open
    known: Known | None = None  # what may be taken over from earlier batches


class Chunks:
    """Opens chunks and closes them; safe to do twice at once, and in vain."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ledger = services.ledger

    def advance(self, batch: BatchRecord, pace: Pace) -> None:
        """Close what has ended and open what comes next. Raises StorageUnavailable,
        LedgerUnavailable."""
        if batch.request.get("reuse") and pace.known is None:
            pace.known = Known(self._services, batch)
        ended = self._ended(batch)[:PER_TURN]
        if closed := self._close(batch, ended, pace):
            self._remember(batch, closed, pace)
        opened = self._open(batch, pace) if batch.status is BatchStatus.IN_PROGRESS else 0
        if len(closed) == len(batch.open) and not opened:
            pace.closed_at = None
        else:
            pace.closed_at = pace.closed_at or time.monotonic()

    def _ended(self, batch: BatchRecord) -> list[tuple[int, OpenChunk]]:
        """The open chunks of which no job is at work. Of a batch that is being cancelled every
        job is told to end."""
        ids = [job_id for opened in batch.open.values() for job_id in opened.jobs or ()]
        statuses = zip(ids, self._ledger.statuses(ids), strict=True)
        unended = {job_id for job_id, status in statuses if status and not status.terminal}
        if batch.status is BatchStatus.CANCELLING:
            for job_id in unended:
                self._ledger.cancel(job_id)
        return [
            (chunk, opened)
            for chunk, opened in batch.open.items()
            if unended.isdisjoint(opened.jobs or ())
        ]

    def _close(
        self, batch: BatchRecord, ended: Sequence[tuple[int, OpenChunk]], pace: Pace
    ) -> list[Closed]:
        """Those that were closed. One without jobs is left from a keeper that was killed."""

        def close(each: tuple[int, OpenChunk]) -> Closed | None:
            chunk, opened = each
            if opened.jobs is None:
                fill(self._services, batch, chunk, opened, pace.known)
                return None
            return collect(self._services, batch, chunk, opened)

        return [closed for closed in parallel_map(close, ended, AT_ONCE) if closed]

    def _open(self, batch: BatchRecord, pace: Pace) -> int:
        """How many were opened."""
        opened: list[tuple[int, OpenChunk]] = []
        window = self._window(pace.queues)
        while len(opened) < PER_TURN and (found := self._ledger.open_chunk(batch.id, window)):
            opened.append(found)

        def fill_one(each: tuple[int, OpenChunk]) -> frozenset[str]:
            return fill(self._services, batch, *each, pace.known)

        filled = parallel_map(fill_one, opened, AT_ONCE)
        pace.queues = next(filter(None, reversed(list(filled))), pace.queues)
        return len(opened)

    def _window(self, queues: frozenset[str]) -> int:
        """How many chunks may be open, so that every worker that serves the queues is fed."""
        served = (queue for worker in self._ledger.workers() for queue in worker.queues)
        return min(max(PER_WORKER * sum(queue in queues for queue in served), LEAST), MOST)

    def _remember(self, batch: BatchRecord, closed: Sequence[Closed], pace: Pace) -> None:
        """Note how fast such work goes, and what is worth telling of it."""
        now = time.monotonic()
        work = sum((each.work for each in closed), Counter[str]())
        took_ms = 0.0 if pace.closed_at is None else (now - pace.closed_at) * 1000
        for signature, items in work.items():
            if took_ms:
                self._ledger.note_pace(signature, items, took_ms * items / work.total())
        pace.closed_at = now
        after = self._ledger.batch(batch.id)
        now_ms = self._services.store.now()
        new = noted(after.notes, closed, after.counts, now_ms, took_ms)
        if new:
            self._ledger.note_batch(batch.id, new)
