"""Faults at random: what a soak does to a service."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import redis

from shared.contracts import WorkerRecord
from shared.errors import LedgerUnavailable
from tests.faults.cluster import Cluster
from tests.faults.watch import Watch

LOOKS = 20
SERVERS = ("ledger", "broker", "s3")
_BODY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>"
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


@dataclass(frozen=True)
class Fault:
    """One that was done: its group, what exactly, and from when to when (time.monotonic())."""

    group: str
    what: str
    began: float
    ended: float


class Harm:
    """Does one fault after the other. `pause_s` says how long those take that do not pass at
    once (least, most). Call from the main thread."""

    def __init__(
        self, cluster: Cluster, watch: Watch, chance: random.Random, pause_s: tuple[float, float]
    ) -> None:
        self.done: list[Fault] = []
        self._cluster = cluster
        self._watch = watch
        self._chance = chance
        self._pause_s = pause_s
        self._faults = self._shuffled()

    def do_one(self) -> None:
        """The next fault; every kind comes as often as its weight says, in random order."""
        group = next(self._faults)
        began = time.monotonic()
        with self._watch.fault():
            what = GROUPS[group][1](self)
        if what is not None:
            self.done.append(Fault(group, what, began, time.monotonic()))

    def _shuffled(self) -> Iterator[str]:
        while True:
            groups = [group for group, (weight, _) in GROUPS.items() for _ in range(weight)]
            self._chance.shuffle(groups)
            yield from groups

    # Each says what it did; None where that was not possible now

    def kill_model(self) -> str | None:
        """Its worker starts another one, and computes again what was lost."""
        name, worker = self._busy_worker()
        pid = self._cluster.model_pid(name)
        if worker is None or pid is None:
            return None
        at = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self._killed("kill -9, model process", worker, at, under_way=True)

    def kill_worker(self) -> str | None:
        name, worker = self._busy_worker()
        if worker is None:
            return None
        at = time.monotonic()
        self._cluster.kill(name)
        return self._killed("kill -9, worker", worker, at)

    def terminate_worker(self) -> str | None:
        name, worker = self._worker()
        if worker is None:
            return None
        self._cluster.signal(name, signal.SIGTERM)
        return "SIGTERM, worker"

    def kill_service(self) -> str:
        name = self._chance.choice(["api", "reaper"])
        self._cluster.kill(name)
        return f"kill -9, {name}"

    def end_server(self) -> str:
        name = self._chance.choice(SERVERS)
        if self._chance.random() < 0.5:
            self._cluster.kill(name)
            return f"kill -9, {name}"
        self._cluster.signal(name, signal.SIGTERM)
        return f"SIGTERM, {name}"

    def stop_worker(self) -> str | None:
        name, worker = self._worker()
        if worker is None:
            return None
        with self._cluster.stopped(name):
            self._pause()
        return "SIGSTOP, worker"

    def stop_server(self) -> str:
        name = self._chance.choice(SERVERS)
        with self._cluster.stopped(name):
            self._pause()
        return f"SIGSTOP, {name}"

    def harm_link(self) -> str:
        part, server = self._chance.choice(list(self._cluster.links)), self._chance.choice(SERVERS)
        link = getattr(self._cluster.links[part], server)
        how = self._chance.choice(["cut", "reset", "pause", "refuse", "throttle", "truncate"])
        if how == "throttle":
            link.throttle(self._chance.uniform(2_000, 50_000))
        elif how == "truncate":
            direction = self._chance.choice(["request", "reply"])
            link.truncate(direction, self._chance.randrange(100, 20_000))
        else:
            getattr(link, how)()
        if how not in ("cut", "reset"):
            self._pause()
        link.heal()
        return f"{how} of a link to {server}"

    def slow_down(self) -> str:
        links = self._cluster.everyones("s3")
        for link in links:
            link.answer(SLOW_DOWN)
        self._pause()
        for link in links:
            link.heal()
        return "503 SlowDown from s3"

    def _worker(self) -> tuple[str, WorkerRecord | None]:
        """A worker's name, and its record when it and the ledger are up."""
        name = self._chance.choice(self._cluster.worker_names)
        try:
            return name, self._cluster.record(name)
        except LedgerUnavailable:
            return name, None

    def _busy_worker(self) -> tuple[str, WorkerRecord | None]:
        """The same of a worker that holds a step, if there is one soon."""
        for _ in range(LOOKS):
            name, worker = self._worker()
            with suppress(redis.RedisError):
                if worker and worker.name in {held.worker for held in self._watch.held()}:
                    break
            self._cluster.sleep(0)
        return name, worker

    def _killed(self, what: str, worker: WorkerRecord, at: float, under_way: bool = False) -> str:
        def noted() -> bool:
            try:
                self._watch.killed(what, worker, at, under_way)
            except redis.RedisError:
                return False
            return True

        self._cluster.until(noted, what="what it held")
        return what

    def _pause(self) -> None:
        self._cluster.sleep(self._chance.uniform(*self._pause_s))


# The group's weight, and how it is done.
GROUPS: dict[str, tuple[int, Callable[[Harm], str | None]]] = {
    "model process killed": (4, Harm.kill_model),
    "worker killed": (4, Harm.kill_worker),
    "worker terminated": (2, Harm.terminate_worker),
    "API or reaper killed": (2, Harm.kill_service),
    "server killed or terminated": (3, Harm.end_server),
    "worker stopped": (2, Harm.stop_worker),
    "server stopped": (3, Harm.stop_server),
    "link cut, reset, slow, …": (4, Harm.harm_link),
    "S3 says SlowDown": (1, Harm.slow_down),
}
