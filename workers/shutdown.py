"""Ending a worker within a bounded time, whatever hangs: the model, S3, the broker, the ledger.

The first request lets the worker end in order, which Celery's own shutdown does as far as its
servers answer. The second one, or the end of the grace, gives back what is held and ends the
process where it stands.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable

from shared import logs

RELEASE_S = 1.0  # how long the last words to the ledger may take

log = logs.get(__name__)


class Shutdown:
    """Waits on a thread of its own for the requests to end.

    `drain` is called at the first request and must not wait for anything; `give_up` is called
    before the hard end, and not waited for longer than RELEASE_S. The process has ended
    `grace_s` after the first request.
    """

    def __init__(
        self, grace_s: float, drain: Callable[[], None], give_up: Callable[[], None]
    ) -> None:
        self._grace_s = grace_s
        self._drain = drain
        self._give_up = give_up
        # A signal handler may interrupt anything: this queue's `put` needs no lock.
        self._requests: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="shutdown", daemon=True).start()

    def on_signals(self) -> None:
        """From now on SIGTERM and SIGINT are requests. To be called by the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._requests.put(None))

    def at_once(self, status: int) -> None:
        """Give back what is held and end the process with this exit status."""
        self._requests.put(status)

    def _run(self) -> None:
        status = self._requests.get()
        try:
            if status is None:
                status = self._end_in_order()
            last_words = threading.Thread(target=self._give_up, daemon=True)
            last_words.start()
            last_words.join(RELEASE_S)
        except Exception:
            log.exception("what is held is left to the reaper")
        os._exit(os.EX_OK if status is None else status)

    def _end_in_order(self) -> int | None:
        """Returns only where the process has not ended by itself meanwhile."""
        log.info("shutting down", grace_s=self._grace_s)
        self._drain()
        try:
            return self._requests.get(timeout=self._grace_s - min(RELEASE_S, self._grace_s / 5))
        except queue.Empty:
            log.warning("the grace is over")
            return None
