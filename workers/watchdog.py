"""A guard against a consumer that has stopped without knowing it.

After a reconnect a worker may live, keep its leases and its heartbeat, and get no message any
more. From the outside that looks like this: messages wait in the broker, the worker has free
slots, and nothing reaches it. Then only a new process helps.
"""

import threading
import time
from collections.abc import Callable

from shared import logs
from shared.queues import BrokerUnavailable

EXIT_STATUS = 70  # EX_SOFTWARE: for the supervisor to start the worker again
LOOKS = 4  # within the time limit

log = logs.get(__name__)


class Watchdog:
    """Looks whether messages that wait for this worker reach it.

    `waiting` tells whether the broker holds messages for it, and may raise BrokerUnavailable;
    `free` whether it has a free slot; `bark` is called once none has come for `limit_s` while
    every look found both.
    """

    def __init__(
        self,
        limit_s: float,
        waiting: Callable[[], bool],
        free: Callable[[], bool],
        bark: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = limit_s
        self._waiting = waiting
        self._free = free
        self._bark = bark
        self._clock = clock
        self._reached_at = clock()
        self._idle_since: float | None = None  # since when every look found work and a free slot

    def reached(self) -> None:
        """A message has come, whatever becomes of it."""
        self._reached_at = self._clock()

    def look(self) -> None:
        """Look once."""
        now = self._clock()
        if not self._starves():
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        idle_s = now - max(self._idle_since, self._reached_at)
        if idle_s >= self._limit_s:
            log.error("messages wait and none reaches this worker", for_s=round(idle_s, 1))
            self._bark()

    def run(self, stop: threading.Event) -> None:
        """Look again and again until `stop` is set."""
        while not stop.wait(self._limit_s / LOOKS):
            try:
                self.look()
            except Exception:  # a guard must not be the first to fall
                log.exception("cannot look")

    def start(self, stop: threading.Event) -> None:
        """`run` on a thread of its own, which does not keep the process alive."""
        threading.Thread(target=self.run, args=(stop,), name="watchdog", daemon=True).start()

    def _starves(self) -> bool:
        try:
            return self._free() and self._waiting()
        except BrokerUnavailable as error:
            log.warning("the broker is away", error=error.message)
            return False
