"""The keeper: brings batches from their index to their end, a piece at a time.

Any number may run. Each takes batches by turns, and every piece of work is safe to do twice: what
decides are the ledger's OPEN and CLOSE. A kill costs the piece that was under way.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from api.batches.chunks import Chunks, Pace
from api.batches.forecast import at_start, tell_outcome
from api.batches.indexing import index
from api.batches.joining import join
from api.batches.schedule import Schedule
from api.services import Services
from shared import logs
from shared.batches import BatchRecord, BatchStatus
from shared.errors import ImagemillError
from shared.layout import batch_manifest_key

PAUSE_S = 0.1  # between two rounds
TURN_S = 2.0  # after which another keeper may have the batch
TROUBLE_S, DEFECT_S = 1.0, 10.0  # how long a batch is let rest that could not be looked after
AT_ONCE = 4  # batches that are indexed or joined

log = logs.get(__name__)


@dataclass
class Kept:
    """What a keeper knows of a batch between its turns. Times are of the monotonic clock."""

    turn_ends: float = 0.0
    rests_until: float = 0.0
    trouble: str = ""
    saved: BatchStatus | None = None
    task: threading.Thread | None = None  # its indexing, or joining
    pace: Pace = field(default_factory=Pace)

    @property
    def at_work(self) -> bool:
        """Whether it is being indexed or joined."""
        return self.task is not None and self.task.is_alive()


def end(services: Services, batch: BatchRecord) -> BatchRecord:
    """Write the batch's files, and remember how long it took."""
    ended = join(services, batch)
    tell_outcome(services, ended)
    return ended


class Keeper:
    """Looks after all batches that have not ended."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ledger = services.ledger
        self._chunks = Chunks(services)
        self._kept: dict[str, Kept] = {}
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Look after batches until `stop` is set; a server that is away is waited for."""
        while not stop.is_set():
            try:
                self.round()
                self._trouble = ""
            except ImagemillError as error:
                if error.code != self._trouble:  # once: an outage would fill the log
                    log.warning("batches are not looked after", error=error.message)
                self._trouble = error.code
            stop.wait(PAUSE_S)

    def round(self) -> None:
        """Do a bounded amount of work for each batch. Raises LedgerUnavailable."""
        active = self._ledger.active_batches()
        self._kept = {batch_id: self._kept.get(batch_id) or Kept() for batch_id in active}
        for batch_id, kept in self._kept.items():
            if time.monotonic() >= kept.rests_until:
                self._turn(batch_id, kept)

    def _turn(self, batch_id: str, kept: Kept) -> None:
        with logs.bound(batch_id=batch_id):
            try:
                if self._has_turn(batch_id, kept):
                    self._look_after(self._ledger.batch(batch_id), kept)
                    kept.trouble = ""
            except Exception as error:
                self._failed(error, kept)

    def _has_turn(self, batch_id: str, kept: Kept) -> bool:
        turn = f"batch {batch_id}"
        if kept.at_work:
            self._ledger.keep_turn(turn, TURN_S)
        elif time.monotonic() < kept.turn_ends:
            return True
        elif not self._ledger.take_turn(turn, TURN_S):
            return False
        kept.turn_ends = time.monotonic() + TURN_S
        return True

    def _failed(self, error: Exception, kept: Kept) -> None:
        """One bad batch must not keep all others from being looked after."""
        now = time.monotonic()
        if not isinstance(error, ImagemillError):
            kept.rests_until = now + DEFECT_S
            log.error("batch not looked after", exc_info=error)
            return
        kept.rests_until = now + TROUBLE_S
        if error.code != kept.trouble:
            log.warning("batch not looked after", code=error.code, error=error.message)
        kept.trouble = error.code

    def _look_after(self, batch: BatchRecord, kept: Kept) -> None:
        if kept.at_work:
            return
        if kept.saved is not batch.status:
            self._save(batch)
            kept.saved = batch.status
        if batch.status is BatchStatus.VALIDATING:
            self._beside(index, batch, kept)
        elif batch.status is BatchStatus.FINALIZING:
            self._beside(end, batch, kept)
        else:
            self._chunks.advance(self._foretold(self._in_time(batch)), kept.pace)

    def _save(self, batch: BatchRecord) -> None:
        """Write down what a rebuild of the ledger needs to know of the batch."""
        text = batch.model_dump_json(indent=1)
        key = batch_manifest_key(batch.id)
        self._services.store.put(key, text.encode(), "application/json")

    # Long pieces, on a thread of their own

    def _beside(
        self, do: Callable[[Services, BatchRecord], BatchRecord], batch: BatchRecord, kept: Kept
    ) -> None:
        if sum(each.at_work for each in self._kept.values()) >= AT_ONCE:
            return

        def work() -> None:
            with logs.bound(batch_id=batch.id):
                try:
                    self._save(do(self._services, batch))
                except Exception as error:
                    self._failed(error, kept)

        kept.task = threading.Thread(target=work, name=do.__name__, daemon=True)
        kept.task.start()

    def _foretold(self, batch: BatchRecord) -> BatchRecord:
        """The batch; before it runs, what is to be expected of it is noted."""
        if batch.status is BatchStatus.IN_PROGRESS and "forecast" not in batch.notes:
            told = at_start(self._services, batch, self._services.store.now())
            self._ledger.note_batch(batch.id, {"forecast": told})
        return batch

    # Schedule

    def _in_time(self, batch: BatchRecord) -> BatchRecord:
        """The batch, ended or paused or resumed as its times want it."""
        if batch.status is BatchStatus.CANCELLING:
            return batch
        now = self._services.store.now()  # this machine's clock may be wrong
        if batch.deadline_at is not None and now >= batch.deadline_at:
            return self._ledger.expire_batch(batch.id)
        allowed = Schedule.of(batch.request).allows(datetime.fromtimestamp(now / 1000, UTC))
        if batch.status is BatchStatus.IN_PROGRESS and not allowed:
            return self._ledger.pause_batch(batch.id, "schedule")
        if batch.paused_by == "schedule" and allowed:
            return self._ledger.resume_batch(batch.id)
        return batch
