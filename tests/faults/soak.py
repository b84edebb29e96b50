"""The soak: random faults against a service under load, and what became of it."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.cluster import Cluster
from tests.faults.harm import GROUPS, Fault, Harm
from tests.faults.load import Accepted, Client, Document, Load, every_kind
from tests.faults.oracle import Findings, Oracle
from tests.faults.watch import Watch

CANCEL_RATE = 0.5  # jobs a second, beside the others


@dataclass(frozen=True)
class Plan:
    """How long, how hard. Times in seconds; pairs are (least, most)."""

    seconds: float
    gap_s: tuple[float, float]  # from the beginning of a fault to that of the next
    pause_s: tuple[float, float]  # how long a fault takes that does not pass at once
    rate: float  # jobs a second
    steps: int  # of diffusion, at most
    lease_s: float
    max_attempts: int = 10  # of kills at random a few may hit the same job

    @property
    def limit_s(self) -> float:
        """What a recovery may take."""
        return self.lease_s + 10

    @property
    def env(self) -> dict[str, str]:
        """What the cluster must be started with."""
        return {
            "IMAGEMILL_LEASE_S": f"{self.lease_s}",
            "IMAGEMILL_MAX_ATTEMPTS": f"{self.max_attempts}",
            "IMAGEMILL_SHUTDOWN_GRACE_S": "8",
        }

    def documents(self, seed: str) -> Iterator[Document]:
        """Jobs of every kind, of different length."""
        chance = random.Random(seed)
        for document in every_kind(chance):
            if "steps" in document["input"]:
                document["input"]["steps"] = chance.randint(2, self.steps)
            yield document


@dataclass
class SoakResult:
    """What came of it. Moments are time.monotonic()."""

    plan: Plan
    workers: int
    began: float
    faults: list[Fault]
    watch: Watch
    accepted: list[Accepted]
    findings: Findings

    @property
    def kinds(self) -> Counter[str]:
        """How many jobs there were of each kind."""
        return Counter(job.document["kind"] for job in self.accepted)

    @property
    def slowest_s(self) -> float:
        """The slowest recovery."""
        return max((step.recovery_s or 0 for step in self.watch.set_back), default=0.0)

    def by_fault(self) -> Iterator[tuple[str, ...]]:
        """Cells: the fault, how often, steps that were held, slowest recovery, next commit."""
        order = {group: number for number, group in enumerate(GROUPS)}
        names = dict.fromkeys(
            fault.what for fault in sorted(self.faults, key=lambda f: (order[f.group], f.what))
        )
        for name in names:
            done = [fault for fault in self.faults if fault.what == name]
            held = [step for step in self.watch.set_back if step.what == name]
            recoveries = [s.recovery_s for s in held if s.recovery_s is not None]
            commits = [self.watch.next_commit_s(fault.ended) for fault in done]
            yield (
                name,
                f"{len(done)}",
                f"{len(held)}" if held else "–",
                _slowest(recoveries),
                _slowest([seconds for seconds in commits if seconds is not None]),
            )


def _slowest(seconds: Sequence[float]) -> str:
    return f"{max(seconds):.1f} s" if seconds else "–"


def soak(cluster: Cluster, plan: Plan, seed: object) -> SoakResult:
    """Run the plan against a quiet cluster, heal all, wait until it is quiet, ask the oracle."""
    chance = random.Random(f"{seed}, faults")
    oracle = Oracle(cluster)
    client = Client(cluster.api_url)
    canceler = Canceler(cluster.api_url, chance=random.Random(f"{seed}, cancels"))
    began = time.monotonic()
    with Watch(cluster.redis("ledger")) as watch:
        with (
            Load(client, plan.documents(f"{seed}, jobs"), clients=4, rate=plan.rate),
            Load(canceler, plan.documents(f"{seed}, canceled jobs"), clients=1, rate=CANCEL_RATE),
        ):
            harm = Harm(cluster, watch, chance, plan.pause_s)
            while time.monotonic() - began < plan.seconds:
                next_at = time.monotonic() + chance.uniform(*plan.gap_s)
                harm.do_one()
                cluster.sleep(max(0.0, next_at - time.monotonic()))
            # Clients repeat what got no answer: while they end, the API must be there.
            cluster.until(lambda: _ready(cluster.api_url), what="the API answers")
        cluster.until(oracle.quiet, what="quiet")
        cluster.until(lambda: all(map(cluster.record, cluster.worker_names)), what="all workers")
    accepted = client.accepted + canceler.accepted
    findings = oracle.check(accepted)
    workers = len(cluster.worker_names)
    return SoakResult(plan, workers, began, harm.done, watch, accepted, findings)


@dataclass
class Canceler(Client):
    """A client that cancels each job some time after it was accepted."""

    chance: random.Random = field(default_factory=random.Random)

    def submit(self, document: Document, *expected: str, **options: Any) -> Accepted:
        job = super().submit(document, "succeeded", "canceled", **options)
        time.sleep(self.chance.uniform(0, 2))
        while not self._cancel(job.job_id):
            time.sleep(0.2)
        return job

    def _cancel(self, job_id: str) -> bool:
        try:
            return httpx.post(f"{self.url}/v1/jobs/{job_id}/cancel", timeout=30).is_success
        except httpx.HTTPError:
            return False


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False
