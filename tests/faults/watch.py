"""What a soak sees of the ledger while it lasts: how much is done, and what kills set back."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis

from shared.contracts import WorkerRecord

PERIOD_S = 0.25


@dataclass(frozen=True)
class Sample:
    """The ledger's counters, since the watch began."""

    at: float  # time.monotonic()
    counters: dict[str, int]


class Held(NamedTuple):
    """A step, and who holds it; the progress is from 0 to 1."""

    job_id: str
    worker: str
    step: int
    fence: int
    progress: float


@dataclass
class SetBack:
    """A step that its worker held when a kill hit, until it goes on elsewhere or is committed."""

    what: str  # the kill
    job_id: str
    step: int
    fence: int
    since: float | None  # time.monotonic(); None while another fault lasts
    recovery_s: float | None = None  # None also where it ended while another fault lasted
    over: bool = False


class Watch:
    """Looks at the ledger, past all proxies, until the block ends."""

    def __init__(self, client: Any) -> None:
        self.samples: list[Sample] = []
        self.set_back: list[SetBack] = []
        self._client = client
        self._before = self._counters()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def fault(self) -> Iterator[None]:
        """While a fault lasts no recovery is timed; it is timed anew from its end."""
        with self._lock:
            for step in self._open():
                step.since = None
        yield
        with self._lock:
            for step in self._open():
                step.since = step.since or time.monotonic()

    def killed(self, what: str, worker: WorkerRecord, at: float, under_way: bool) -> None:
        """Something was killed (time.monotonic()): note what the worker held; `under_way`: only
        what its model process was at, not what waited for it or was being stored.

        Raises redis.RedisError.
        """
        with self._lock:
            self.set_back += [
                SetBack(what, held.job_id, held.step, held.fence, at)
                for held in self.held()
                if held.worker == worker.name and (0 < held.progress < 1 or not under_way)
            ]

    def held(self) -> Iterator[Held]:
        """Every step that is held now. Raises redis.RedisError."""
        for job_id in self._client.zrange("jobs:default:running", 0, -1):
            phase, worker, step, fence, progress = self._client.hmget(
                f"job:{job_id}", "phase", "worker", "step", "fence", "progress"
            )
            if phase == "leased":
                yield Held(job_id, worker, int(step), int(fence), float(progress))

    @property
    def counters(self) -> dict[str, int]:
        """The last ones seen."""
        return self.samples[-1].counters

    def next_commit_s(self, at: float) -> float | None:
        """How long from this moment until a step was committed; None where none was."""
        before = max((s.counters.get("commits", 0) for s in self.samples if s.at <= at), default=0)
        for sample in self.samples:
            if sample.at > at and sample.counters.get("commits", 0) > before:
                return sample.at - at
        return None

    def _open(self) -> list[SetBack]:
        return [step for step in self.set_back if not step.over]

    def _counters(self) -> dict[str, int]:
        return {name: int(n) for name, n in self._client.hgetall("counters").items()}

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            with suppress(redis.RedisError):  # it was killed, or is stopped, as is meant
                self._look()
        self._look()

    def _look(self) -> None:
        counters = self._counters()
        since = {name: n - self._before.get(name, 0) for name, n in counters.items()}
        self.samples.append(Sample(time.monotonic(), since))
        with self._lock:
            waiting = self._open()
            pipe = self._client.pipeline(transaction=False)
            for step in waiting:
                pipe.hmget(f"job:{step.job_id}", "phase", "step", "fence")
            for step, (phase, current, fence) in zip(waiting, pipe.execute(), strict=True):
                if phase == "ended" or int(current) > step.step or int(fence) > step.fence:
                    step.over = True
                    if step.since is not None:
                        step.recovery_s = time.monotonic() - step.since
