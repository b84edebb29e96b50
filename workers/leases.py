"""Keeping the leases of the steps that this worker holds."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared import logs
from shared.errors import LedgerUnavailable
from shared.ledger import Ledger
from shared.ledger.records import Renewal
from shared.settings import Settings

PROGRESS_PERIOD_S = 0.5  # how soon progress reaches the ledger, and a cancel the worker
QUIET_PERIOD_S = 2.0  # the same while a step reports nothing

log = logs.get(__name__)


class Lease:
    """One held step. Its thread reports progress; the keeper tells it when to stop."""

    def __init__(self, job_id: str, step: int, fence: int) -> None:
        self.job_id = job_id
        self.step = step
        self.fence = fence
        self.verdict: Renewal = "ok"  # the last answer to RENEW
        self.progress = 0.0
        self.message = ""
        self.renewed_at = time.monotonic()
        self._reported = False
        self._on_stop: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def report(self, progress: float, message: str) -> None:
        """Progress of the step, from 0 to 1."""
        if (progress, message) != (self.progress, self.message):
            self.progress, self.message, self._reported = progress, message, True

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call this once the step must stop; at once if that is known already."""
        with self._lock:
            self._on_stop = callback
            stopped = self.verdict != "ok"
        if stopped:
            callback()

    def is_due(self, now: float, longest_s: float) -> bool:
        """Whether to renew: soon after news, and well before the lease ends."""
        period = PROGRESS_PERIOD_S if self._reported else QUIET_PERIOD_S
        return now - self.renewed_at >= min(period, longest_s)

    def renew(self, ledger: Ledger) -> None:
        """RENEW; an answer other than `ok` stops the step. Raises LedgerUnavailable."""
        self._reported = False
        self.renewed_at = time.monotonic()
        verdict = ledger.renew(self.job_id, self.step, self.fence, self.progress, self.message)
        with self._lock:
            self.verdict = verdict
            callback = self._on_stop if verdict != "ok" else None
        if callback:
            callback()


class LeaseKeeper:
    """One thread that renews every lease this worker holds."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._longest_s = settings.lease_s / 3
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
        self._thread.start()

    @contextmanager
    def hold(self, job_id: str, step: int, fence: int) -> Iterator[Lease]:
        """Keep a lease while the block runs."""
        lease = Lease(job_id, step, fence)
        with self._lock:
            self._held.add(lease)
        try:
            yield lease
        finally:
            with self._lock:
                self._held.discard(lease)

    @property
    def held(self) -> int:
        """How many steps this worker holds now."""
        with self._lock:
            return len(self._held)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(min(0.1, self._longest_s / 2)):
            with self._lock:
                held = list(self._held)
            for lease in held:
                if lease.verdict == "ok" and lease.is_due(time.monotonic(), self._longest_s):
                    try:
                        lease.renew(self._ledger)
                    except LedgerUnavailable as error:
                        # The step goes on: if the lease runs out meanwhile, COMMIT is fenced.
                        log.warning("renewal failed", job_id=lease.job_id, error=error.message)
