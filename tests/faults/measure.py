"""What the servers spend on jobs: time, memory, keys, objects."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.contracts import JobRecord, NewJob, new_id
from tests.faults.cluster import Cluster

SAMPLE_S = 1.0
OBJECTS_EVERY = 10  # samples: counting objects is work for S3
BACKLOG = 1000  # unfinished jobs at most: a slow machine takes longer, and not more memory


@dataclass(frozen=True)
class Measure:
    """One line of the report."""

    what: str
    found: str
    asked: str


# Time


@dataclass
class Spent:
    """Seconds: as a clock tells them, on commands (a script's own included once), and on writing
    and syncing the append-only file."""

    elapsed: float = 0.0
    commands: float = 0.0
    file: float = 0.0


@contextmanager
def time_of(client: Any) -> Iterator[Spent]:
    """What a Valkey server spends while the block runs; filled in at its end."""
    spent = Spent()
    began, before = time.monotonic(), _event_loop(client)
    yield spent
    after = _event_loop(client)
    spent.elapsed = time.monotonic() - began
    spent.commands, spent.file = (
        (after[name] - before[name]) / 1e6
        for name in ("eventloop_duration_cmd_sum", "eventloop_duration_aof_sum")
    )


def _event_loop(client: Any) -> dict[str, int]:
    return {**client.info("stats"), **client.info("debug")}


# Memory


class Footprint:
    """Samples, every second until the block ends, what a cluster's servers keep.

    `series` has the samples by name, in bytes or numbers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.series: dict[str, list[float]] = {}
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="footprint")

    def __enter__(self) -> "Footprint":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def growth(self, name: str) -> tuple[float, float]:
        """The highest value of the second fifth of all samples, and of the last one."""
        values = self.series[name]
        fifth = len(values) // 5
        return max(values[fifth : 2 * fifth]), max(values[-fifth:])

    def _run(self) -> None:
        servers = {name: self._cluster.redis(name) for name in ("ledger", "broker")}
        store, number = self._cluster.store, 0
        while not self._stop.wait(SAMPLE_S):
            for name, client in servers.items():
                info = client.info("everything")
                self._add(f"memory of the {name}", info["used_memory"])
                self._add(f"keys of the {name}", client.dbsize())
                self._add(f"append-only file of the {name}", info["aof_current_size"])
            if number % OBJECTS_EVERY == 0:
                self._add("objects in S3", sum(1 for _ in store.list("")))
            number += 1

    def _add(self, name: str, value: float) -> None:
        self.series.setdefault(name, []).append(value)


class Submitters:
    """Threads that submit copies of a job straight to the ledger, `count` in all and `rate` a
    second at most; each has an Idempotency-Key."""

    def __init__(
        self, cluster: Cluster, template: JobRecord, count: int, rate: float, threads: int = 4
    ) -> None:
        self._ledger = cluster.ledger
        self._server = cluster.redis("ledger")
        self._template = template
        self._rate = rate
        self._numbers = iter(range(count))
        self._taking = threading.Lock()
        self._errors: list[BaseException] = []
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        """Whether all are submitted. Raises what went wrong."""
        if self._errors:
            raise self._errors[0]
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        try:
            while (number := self._take()) is not None:
                time.sleep(max(0.0, self._began + number / self._rate - time.monotonic()))
                while number % 50 == 0 and self._server.zcard("due") > BACKLOG:
                    time.sleep(0.1)
                self._ledger.submit(self._copy(), (uuid.uuid4().hex, "digest"))
        except BaseException as error:
            self._errors.append(error)

    def _take(self) -> int | None:
        with self._taking:
            return next(self._numbers, None)

    def _copy(self) -> NewJob:
        job = self._template
        return NewJob(
            id=new_id("job"),
            tenant=job.tenant,
            kind=job.kind,
            priority=job.priority,
            input=job.input,
            steps=tuple(record.step for record in job.steps),
            retention_s=job.retention_ms / 1000,
        )
