"""Work that never ends, shared out by turns: no process that does it is the only one.

Every process that may do such work asks the ledger for the next turn about once a second. Whoever
gets it sweeps; when that one dies or hangs, the next to ask goes on in its place.
"""

import threading
import time
from abc import ABC, abstractmethod
from typing import ClassVar

from shared import logs
from shared.errors import ImagemillError
from shared.ledger import Ledger

SWEEP_S = 1.0
TURN_S = 0.8 * SWEEP_S  # a little less, so that one alone has the turn at every sweep

log = logs.get(__name__)


class Sweeper(ABC):
    """One that sweeps; two at once must do no harm, since a turn is no lock."""

    name: ClassVar[str]  # of the turn

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @abstractmethod
    def sweep(self) -> bool:
        """Do a bounded amount of work. True: there is more, which need not wait.

        Raises ImagemillError where a server is away.
        """

    def watch(self) -> bool:
        """What each of them does every time, whosever turn it is; answers as `sweep` does."""
        return False

    def run(self, stop: threading.Event) -> None:
        """Sweep until `stop` is set; a server that is away is waited for."""
        pause_s, trouble = SWEEP_S, ""
        while not stop.wait(pause_s):
            more = False
            try:
                more = self._turn()
                more = self.watch() or more
                trouble = ""
            except ImagemillError as error:
                if error.code != trouble:  # once: an outage would fill the log
                    log.warning("sweep failed", sweeper=self.name, error=error.message)
                trouble = error.code
            except Exception:  # one bad record must not keep all others from being looked after
                log.exception("sweep failed", sweeper=self.name)
            pause_s = 0.0 if more else SWEEP_S

    def start(self, stop: threading.Event) -> threading.Thread:
        """`run` on a thread of its own, which does not keep the process alive."""
        thread = threading.Thread(target=self.run, args=(stop,), name=self.name, daemon=True)
        thread.start()
        return thread

    def _turn(self) -> bool:
        """Sweep for as long as a turn lasts and there is more to do, if this one gets it."""
        if not self._ledger.take_turn(self.name, TURN_S):
            return False
        end = time.monotonic() + TURN_S
        while more := self.sweep():
            if time.monotonic() >= end:
                break
        return more
