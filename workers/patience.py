"""How one execution of a step waits for storage, and how it learns that it must stop."""

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from shared import logs
from shared.errors import (
    DeadlineExceeded,
    ImagemillError,
    LeaseLost,
    StepCanceled,
    StepInterrupted,
    StorageUnavailable,
)
from workers.leases import Lease

T = TypeVar("T")

STORAGE_PATIENCE_S = 600.0  # a result may have cost more than that
STORAGE_PAUSE_S = 1.0
OUTAGE_RETRY_S = 5.0  # a full disk or an absent S3 is not over in a second
WAITING = "waiting for storage"

log = logs.get(__name__)


class Patience:
    """Of one execution; any of its threads may call."""

    def __init__(self, lease: Lease, stopping: Event) -> None:
        """`stopping` is set once the worker is to end: nothing is waited for any longer."""
        self._lease = lease
        self._stopping = stopping

    def go_on(self) -> None:
        """Raises StepCanceled, DeadlineExceeded, LeaseLost or StepInterrupted where the step must
        stop."""
        match self._lease.verdict:
            case "cancel":
                raise StepCanceled("the step was canceled")
            case "deadline":
                raise DeadlineExceeded("the deadline passed while the step ran")
            case "lost":
                raise LeaseLost("another worker holds the step")
        if self._lease.released:
            raise StepInterrupted("the worker is shutting down")

    def pause(self, seconds: float) -> None:
        """Wait. Raises as `go_on`, at once where the worker is to end."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stopping.wait(min(left, STORAGE_PAUSE_S)):
                raise StepInterrupted("the worker is shutting down")
            self.go_on()

    def fetch(self, attempt: Callable[[], T]) -> T:
        """`outlast`, between whose calls the step can stop too."""
        self.go_on()
        return self.outlast(attempt)

    def outlast(self, attempt: Callable[[], T]) -> T:
        """Try until S3 serves: an outage must not throw away what is computed.

        Raises StorageUnavailable after STORAGE_PATIENCE_S, and as `go_on` in between.
        """
        give_up = time.monotonic() + STORAGE_PATIENCE_S
        while True:
            try:
                return attempt()
            except StorageUnavailable as error:
                if time.monotonic() >= give_up:
                    raise
                if self._lease.message != WAITING:
                    log.warning(WAITING, error=error.message)
            self._lease.report(self._lease.progress, WAITING)
            self.pause(STORAGE_PAUSE_S)


def retry_delay_s(error: ImagemillError, attempt: int) -> float:
    """The pause before what failed is tried again: 1 s, 2 s, 4 s, …; OUTAGE_RETRY_S after what is
    nobody's fault, where `attempt` does not grow."""
    return float(2 ** (attempt - 1)) if error.burns_attempt else OUTAGE_RETRY_S
