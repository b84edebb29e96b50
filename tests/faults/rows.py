"""Rows of the fault table: rounds at random moments, and what came of them.

A row's test reads like the table: for each of its rounds, put load on the service, do the harm,
and `settle`.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tests.faults.cluster import Cluster
from tests.faults.load import Client, Load, every_kind
from tests.faults.oracle import Findings, Oracle

T = TypeVar("T")


@dataclass
class Result:
    """What a row came to, over all of its rounds."""

    number: int
    title: str
    rounds: int = 0
    jobs: int = 0
    lost: int = 0
    doubled: int = 0
    extra: int = 0
    slowest_s: float = 0.0  # from the end of a fault to the end of the last job accepted by then
    tests: int = 0  # how many have run, of those that make up the row
    passed: bool = False  # all of them

    def add(self, findings: Findings, recovery_s: float) -> None:
        self.rounds += 1
        self.jobs += findings.jobs
        self.lost += len(findings.lost)
        self.doubled += len(findings.doubled)
        self.extra += findings.extra
        self.slowest_s = max(self.slowest_s, recovery_s)


class Trial:
    """One round: its clients, its oracle, its chances."""

    def __init__(self, cluster: Cluster, result: Result, chance: random.Random) -> None:
        self.cluster = cluster
        self.chance = chance
        self.client = Client(cluster.api_url)
        self._result = result
        self._oracle = Oracle(cluster)
        self._healed_at = time.monotonic()

    @property
    def accepted(self) -> list[str]:
        return [job.job_id for job in self.client.accepted]

    @contextmanager
    def load(self, clients: int = 3, rate: float = 15) -> Iterator[None]:
        """Clients that submit jobs of every kind until the block ends."""
        with Load(self.client, every_kind(self.chance), clients, rate) as load:
            yield
            load.stop()
            # Their last requests may need a server that is to be started again.
            self.cluster.until(lambda: load.ended, what="the last answers")

    def submit(self, document: dict[str, Any], *expected: str) -> str:
        """One job's id; `expected` are the states it may end in (default: succeeded), or ERASED
        for one that is to be deleted."""
        return self.client.submit(document, *expected).job_id

    def wait(self, least_s: float, most_s: float) -> None:
        """Let a random time pass."""
        self.cluster.sleep(self.chance.uniform(least_s, most_s))

    def choose(self, *among: T) -> T:
        return self.chance.choice(among)

    def until_status(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """The job, once it has one of these states."""

        def reached() -> dict[str, Any] | None:
            job = self.client.job(job_id)
            return job if job["status"] in statuses else None

        found = self.cluster.until(reached, what=f"{job_id}: {' or '.join(statuses)}")
        assert found is not None
        return found

    def until_running(self, job_id: str, step: int = 0) -> None:
        """Wait until a worker holds this step and its model is at work."""

        def running() -> bool:
            record = self.cluster.ledger.get(job_id)
            return record.current == step and record.progress > 0

        self.cluster.until(running, what=f"{job_id}: step {step} under way")

    def until_all_work(self) -> None:
        """Wait, under load, until each worker has ended a step."""

        def ended() -> dict[str, int]:
            return {n: self.cluster.log(n).count("step ended") for n in self.cluster.worker_names}

        before = ended()

        def idle() -> list[str]:
            return [name for name, count in ended().items() if count <= before[name]]

        with self.load():
            self.cluster.until(lambda: not idle(), what="every worker at work")

    def refusals(self) -> list[httpx.Response]:
        """The 503s that clients got, each a problem document that says when to come back."""
        for answer in self.client.refusals:
            assert answer.status_code == 503, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
        return self.client.refusals

    def healed(self) -> None:
        """The fault is over (or, for a kill, was done) now: recovery is counted from here."""
        self._healed_at = time.monotonic()

    def settle(self) -> Findings:
        """Wait until all is quiet, and ask the oracle. Raises AssertionError."""
        self.cluster.until(self._oracle.quiet, what=f"quiet; due: {self._due()}")
        # The last thing that was killed may be the API, which the oracle asks.
        self.cluster.until(self._api_answers, what="an answer of the API")
        findings = self._oracle.check(self.client.accepted)
        self._result.add(findings, self._recovery_s())
        assert findings.clean, "\n".join(findings.lines())
        return findings

    def _recovery_s(self) -> float:
        """From the end of the fault to the end of the last job that was accepted before it."""
        healed = time.time() - (time.monotonic() - self._healed_at)
        ends = [
            self.cluster.ledger.get(job.job_id).finished_at or 0
            for job in self.client.accepted
            if job.at <= self._healed_at and not job.erased
        ]
        return max([0.0, *(end / 1000 - healed for end in ends)])

    def _api_answers(self) -> bool:
        try:
            return httpx.get(f"{self.cluster.api_url}/healthz", timeout=3).is_success
        except httpx.HTTPError:
            return False

    def _due(self) -> Any:
        return self.cluster.redis("ledger").zrange("due", 0, 5, withscores=True)


class Row:
    """One row of the table, as its test sees it."""

    def __init__(self, result: Result, full: bool, seed: int) -> None:
        self.result = result
        self.full = full
        self._seed = seed

    def trials(self, cluster: Cluster, short: int, full: int) -> Iterator[Trial]:
        """So many rounds, each with chances of its own that the seed decides."""
        for number in range(full if self.full else short):
            chance = random.Random(f"{self._seed}, row {self.result.number}, round {number}")
            yield Trial(cluster, self.result, chance)
