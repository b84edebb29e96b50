"""Keeping the leases of the steps that this worker holds, and giving them back."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from shared import logs
from shared.errors import LedgerUnavailable, StepInterrupted
from shared.ledger import Ledger
from shared.ledger.records import Outcome, Renewal
from shared.settings import Settings

PROGRESS_PERIOD_S = 0.5  # how soon progress reaches the ledger, and a cancel the worker
QUIET_PERIOD_S = 2.0  # the same while a step reports nothing
TICK_S = 0.1

log = logs.get(__name__)


class Lease:
    """One held step. Its thread reports progress; the keeper tells it when to stop."""

    def __init__(self, job_id: str, step: int) -> None:
        self.job_id = job_id
        self.step = step
        self.fence = 0  # while CLAIM is under way; real ones begin at 1
        self.attempt = 0
        self.verdict: Renewal = "ok"  # the last answer to RENEW
        self.progress = 0.0
        self.message = ""
        self.metrics: Mapping[str, float] = {}
        self.renewed_at = time.monotonic()
        self.released: Outcome | None = None  # what RELEASE answered
        self._reported = False
        self._saved = False
        self._on_stop: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._releasing = threading.Lock()

    def claimed(self, fence: int, attempt: int) -> None:
        """CLAIM gave this worker the step."""
        self.renewed_at = time.monotonic()
        self.attempt = attempt
        self.fence = fence

    def report(
        self, progress: float, message: str, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Progress of the step, from 0 to 1, and its current numbers."""
        news = progress, message, metrics or {}
        if news != (self.progress, self.message, self.metrics):
            self.progress, self.message, self.metrics = news
            self._reported = True

    def saved(self) -> None:
        """The step can go on from where it is: its time limit and the count of its attempts
        start anew with the next renewal."""
        self._saved = self._reported = True

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call this once the step must stop; at once if that is known already."""
        with self._lock:
            self._on_stop = callback
            stopped = self.verdict != "ok" or self.released
        if stopped:
            callback()

    @property
    def begun(self) -> bool:
        """Whether the model has the step's samples, or has had them."""
        return self._on_stop is not None

    def is_due(self, now: float, longest_s: float) -> bool:
        """Whether to renew: soon after news, and well before the lease ends."""
        if self.verdict != "ok" or self.released:
            return False
        period = PROGRESS_PERIOD_S if self._reported else QUIET_PERIOD_S
        return now - self.renewed_at >= min(period, longest_s)

    def renew(self, ledger: Ledger) -> None:
        """RENEW; an answer other than `ok` stops the step. Raises LedgerUnavailable."""
        saved, self._saved = self._saved, False
        self._reported = False
        self.renewed_at = time.monotonic()
        try:
            verdict = ledger.renew(
                self.job_id,
                self.step,
                self.fence,
                self.progress,
                self.message,
                self.metrics,
                saved=saved,
            )
        except LedgerUnavailable:
            self._saved = self._saved or saved
            raise
        if saved and verdict == "ok":
            self.attempt = 1
        with self._lock:
            self.verdict = verdict
            callback = self._on_stop if verdict != "ok" else None
        if callback:
            callback()

    def release(self, ledger: Ledger) -> Outcome:
        """RELEASE, once: asked again, by whomever, it gives the same answer. From then on the
        ledger refuses a COMMIT under this fence. Raises LedgerUnavailable."""
        with self._releasing:
            if self.released is None:
                self.released = ledger.release(self.job_id, self.step, self.fence)
            return self.released


class LeaseKeeper:
    """One thread that renews every lease this worker holds."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._longest_s = settings.lease_s / 3
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._draining = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
        self._thread.start()

    @contextmanager
    def hold(self, job_id: str, step: int) -> Iterator[Lease]:
        """Keep a lease while the block runs, which begins with its CLAIM.

        Raises StepInterrupted once `drain` was called: then nothing may be claimed.
        """
        lease = Lease(job_id, step)
        with self._lock:
            if self._draining:
                raise StepInterrupted("the worker is shutting down")
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

    def drain(self) -> None:
        """Let nothing new be claimed; give back what has not reached the model yet."""
        with self._lock:
            self._draining = True

    def release_all(self) -> None:
        """Give back everything held, whatever its thread does now. Returns when all is told to
        the ledger, which may be never: call it on a thread that nobody waits for too long."""
        self.drain()
        while held := [lease for lease in self._leases() if not lease.released]:
            for lease in held:
                if lease.fence:  # else CLAIM is under way, and soon answered
                    self._tell(lease, lease.release)
            time.sleep(TICK_S / 10)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _leases(self) -> list[Lease]:
        with self._lock:
            return list(self._held)

    def _run(self) -> None:
        while not self._stop.wait(min(TICK_S, self._longest_s / 2)):
            for lease in self._leases():
                if not lease.fence:
                    continue
                if self._draining and not lease.begun:
                    self._tell(lease, lease.release)
                elif lease.is_due(time.monotonic(), self._longest_s):
                    self._tell(lease, lease.renew)

    def _tell(self, lease: Lease, tell: Callable[[Ledger], object]) -> None:
        try:
            tell(self._ledger)
        except LedgerUnavailable as error:
            # The step goes on: if the lease runs out meanwhile, COMMIT is fenced.
            log.warning(f"{tell.__name__} failed", job_id=lease.job_id, error=error.message)
