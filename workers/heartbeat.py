"""Telling the ledger that this worker lives."""

import threading
import time
from collections.abc import Callable

from shared import logs
from shared.contracts import WorkerRecord
from shared.errors import LedgerUnavailable
from shared.ledger import Ledger

PERIOD_S = 2.0
SILENCE_S = 2.5 * PERIOD_S  # of the ledger, until it counts as away; a call that hangs takes longer

log = logs.get(__name__)


class Heartbeat:
    """One thread that records what `describe` returns, until closed."""

    def __init__(self, ledger: Ledger, describe: Callable[[], WorkerRecord]) -> None:
        self._ledger = ledger
        self._describe = describe
        self._answered_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def answered(self) -> bool:
        """Whether the ledger has answered lately."""
        return time.monotonic() - self._answered_at < SILENCE_S

    def close(self) -> None:
        """Stop, and take the worker off the list at once."""
        self._stop.set()
        self._thread.join()
        try:
            self._ledger.goodbye(self._describe().name)
        except LedgerUnavailable:
            log.warning("the worker's record is left to expire")

    def _run(self) -> None:
        while True:
            try:
                self._ledger.heartbeat(self._describe())
                self._answered_at = time.monotonic()
            except LedgerUnavailable as error:
                log.warning("heartbeat failed", error=error.message)
            if self._stop.wait(PERIOD_S):
                return
