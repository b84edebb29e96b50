"""What must be true once a service is quiet again, whatever was done to it."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import redis

from shared.contracts import Artifact
from shared.errors import ImagemillError
from shared.ledger.inspect import index_errors
from shared.object_store import ObjectStore
from tests.faults.cluster import Cluster
from tests.faults.load import Accepted, Document
from tests.waiting import PATIENCE_S

LONGEST_CHAIN = 3
UNDECIDED = ("retries", "released", "lease_expired")  # executions that had to be repeated
TERMINAL = {"succeeded", "failed", "canceled", "expired"}


@dataclass
class Findings:
    """What an oracle found wrong, and how much work was done more than once."""

    jobs: int = 0
    lost: list[str] = field(default_factory=list)  # no end, or one that nothing explains
    doubled: list[str] = field(default_factory=list)  # two jobs for one key, two commits of a step
    wrong: list[str] = field(default_factory=list)  # bad bytes, records that disagree
    extra: int = 0  # executions that had to be repeated

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def lines(self) -> Iterator[str]:
        for name in ("lost", "doubled", "wrong"):
            yield from (f"{name}: {line}" for line in getattr(self, name))


class Oracle:
    """Watches one cluster, which must be quiet when it is made, until `check`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before = Counter(cluster.ledger.counters())

    def quiet(self) -> bool:
        """Whether every job has ended: no step is held, waits or is to be tried again."""
        try:
            return not self._cluster.redis("ledger").zcard("due")
        except redis.RedisError:
            return False

    def check(self, accepted: list[Accepted]) -> Findings:
        """Compare what was accepted with what the service, its ledger and S3 now hold."""
        found = Findings(jobs=len(accepted))
        with httpx.Client(base_url=self._cluster.api_url, timeout=PATIENCE_S) as http:
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda a: http.get(f"/v1/jobs/{a.job_id}"), accepted))
            listed = _listed(http, {a.key for a in accepted})
        for job, answer in zip(accepted, answers, strict=True):
            found.lost += _lost(job, answer)
        for key, ids in listed.items():
            if len(ids) > 1:
                found.doubled.append(f"key {key}: {ids}")
        self._check_ledger(found, sum(job.erased for job in accepted))
        self._check_bytes(found, accepted)
        return found

    def _check_ledger(self, found: Findings, erased: int) -> None:
        """Every accepted job has as many commits as committed steps; no index is left over."""
        client = self._cluster.redis("ledger")
        found.wrong += list(index_errors(client))
        counters = Counter(self._cluster.ledger.counters())
        counters.subtract(self._before)
        ended = sum(counters[status] for status in TERMINAL)
        if ended != counters["submitted"]:
            found.lost.append(f"{counters['submitted']} jobs submitted, {ended} ended")
        committed = self._committed_steps(counters["submitted"] - erased)
        # Of erased jobs nobody can tell any more which steps were committed.
        if not 0 <= counters["commits"] - committed <= erased * LONGEST_CHAIN:
            found.doubled.append(f"{counters['commits']} commits for {committed} steps")
        found.extra = sum(counters[name] for name in UNDECIDED)

    def _committed_steps(self, jobs: int) -> int:
        """Committed steps of the newest `jobs` jobs."""
        ledger, count, cursor = self._cluster.ledger, 0, None
        while jobs > 0:
            page = ledger.jobs("default", limit=min(jobs, 200), after=cursor)
            count += sum(step.output is not None for job in page.jobs for step in job.steps)
            jobs -= len(page.jobs)
            cursor = page.next
            if cursor is None:
                break
        return count

    def _check_bytes(self, found: Findings, accepted: list[Accepted]) -> None:
        """The bytes of every recorded artifact are those of its record."""
        ledger, store = self._cluster.ledger, self._cluster.store

        def wrong(job: Accepted) -> list[str]:
            lines = []
            try:
                record = ledger.get(job.job_id)
            except ImagemillError:
                return []
            for artifact in record.artifacts:
                lines += _unreadable(store, artifact)
            return lines

        with ThreadPoolExecutor(4) as pool:
            for lines in pool.map(wrong, accepted):
                found.wrong += lines


def _lost(job: Accepted, answer: httpx.Response) -> list[str]:
    if job.erased and answer.status_code == 404:
        return []
    if not answer.is_success:
        return [f"{job.job_id}: {answer.status_code} {answer.text[:200]}"]
    record: Document = answer.json()
    if record["status"] not in TERMINAL:
        return [f"{job.job_id}: still {record['status']}"]
    if record["status"] not in job.expected:
        return [f"{job.job_id} ({record['kind']}): {record['status']}, {record['error']}"]
    return []


def _listed(http: httpx.Client, keys: set[str]) -> dict[str, list[str]]:
    """The ids of all jobs with one of these keys in their metadata, by key."""
    found: dict[str, list[str]] = {}
    cursor: str | None = None
    while True:
        page = http.get("/v1/jobs", params={"limit": 100, **({"after": cursor} if cursor else {})})
        body = page.raise_for_status().json()
        known = [job for job in body["data"] if job["metadata"].get("key") in keys]
        for job in known:
            found.setdefault(job["metadata"]["key"], []).append(job["id"])
        cursor = body.get("next")
        # Newest first: a page of older jobs ends the search.
        if not cursor or (found and not known):
            return found


def _unreadable(store: ObjectStore, artifact: Artifact) -> list[str]:
    try:
        store.get(artifact.key, sha256=artifact.sha256, size=artifact.bytes)
    except ImagemillError as error:
        return [f"{artifact.key}: {error.message}"]
    return []
