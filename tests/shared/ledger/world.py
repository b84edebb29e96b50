"""A ledger under test, in memory or on a real server, with a clock that the test moves."""

import hashlib
from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

import redis

from shared.contracts import FileRecord, JobRecord, NewJob, Priority, Step, StepOutput, new_id
from shared.ledger import Ledger
from shared.ledger.records import Claim
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger

START_MS = 1_800_000_000_000
CLOCK = "local now = clock()"
TEST_CLOCK = "local now = tonumber(redis.call('GET', 'test_clock'))"


class Clocked(Protocol):
    """A ledger that can let time pass, and check that what it keeps agrees with itself."""

    def advance(self, ms: int) -> None: ...

    def inconsistencies(self) -> Iterator[str]: ...


class ClockedMemoryLedger(MemoryLedger):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, clock=lambda: START_MS)

    def inconsistencies(self) -> Iterator[str]:
        unfinished = set()
        for job_id, job in self._state.jobs.items():
            if (job.phase == "ended") != job.status.terminal:
                yield f"{job_id}: {job.phase}, but {job.status}"
            if job.phase != "ended":
                unfinished.add(job_id)
        for file_id, file in self._state.files.items():
            if not file.jobs <= unfinished:
                yield f"{file_id}: held by jobs that ended"


class ClockedRedis(redis.Redis):
    """A client of a real server that answers TIME with the test's clock."""

    def time(self, **options: Any) -> tuple[int, int]:
        now = int(self.get("test_clock"))
        return now // 1000, now % 1000 * 1000


class ClockedLedger(Ledger):
    """The real scripts on a real server, by the test's clock."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        super().__init__(client, settings)
        client.set("test_clock", START_MS)
        for name, script in self._scripts.items():
            assert CLOCK in script.script
            self._scripts[name] = client.register_script(script.script.replace(CLOCK, TEST_CLOCK))

    def advance(self, ms: int) -> None:
        self._redis.incrby("test_clock", ms)
        for key in self._redis.scan_iter():
            left = self._redis.pttl(key)
            if left > ms:
                self._redis.pexpire(key, left - ms)
            elif left > 0:
                self._redis.delete(key)

    def inconsistencies(self) -> Iterator[str]:
        return server_inconsistencies(self._redis)


def server_inconsistencies(client: Any) -> Iterator[str]:
    """Where the indexes of a real ledger and its jobs disagree."""
    jobs = {key[4:]: client.hgetall(key) for key in client.scan_iter("job:*")}
    due = set(client.zrange("due", 0, -1))
    unfinished = {job_id for job_id, job in jobs.items() if job["phase"] != "ended"}
    if due != unfinished:
        yield f"due: {due ^ unfinished} are there without reason, or not there"
    indexes = {"waiting:": set(), "published:": set(), "jobs:": set()}
    for prefix, members in indexes.items():
        for key in client.scan_iter(f"{prefix}*"):
            members |= {(key, member) for member in client.zrange(key, 0, -1)}
    wanted = {prefix: set() for prefix in indexes}
    for job_id, job in jobs.items():
        phase, status = job["phase"], job["status"]
        if (phase == "ended") != (status in {"succeeded", "failed", "canceled", "expired"}):
            yield f"{job_id}: {phase}, but {status}"
        if (phase == "leased") != ("lease_until" in job) or (phase == "leased") != ("claim" in job):
            yield f"{job_id}: {phase}, lease until {job.get('lease_until')}"
        wanted["jobs:"] |= {
            (f"jobs:{job['tenant']}", job_id),
            (f"jobs:{job['tenant']}:{status}", job_id),
        }
        if f"{phase}:" in wanted:
            step = Step.model_validate(_plan(job)[int(job["step"])])
            wanted[f"{phase}:"].add((f"{phase}:{step.queue(Priority(job['priority']))}", job_id))
    for prefix, members in indexes.items():
        if members != wanted[prefix]:
            yield f"{prefix} {members ^ wanted[prefix]} are there without reason, or not there"
    if not set(client.zrange("ended", 0, -1)) <= jobs.keys() - unfinished:
        yield "ended: jobs that have not ended"
    for key in client.scan_iter("file:*:jobs"):
        if not client.smembers(key) <= unfinished:
            yield f"{key}: jobs that ended"


def _plan(job: dict[str, str]) -> Any:
    import json

    return json.loads(job["steps"])


def steps(*families: str) -> tuple[Step, ...]:
    return tuple(Step(name=f"{family}-step", family=family, model="tiny") for family in families)


def new_job(*families: str, **fields: Any) -> NewJob:
    """A job over these families, one step each; by default a chain of three."""
    defaults: dict[str, Any] = {
        "id": new_id("job"),
        "tenant": "t",
        "kind": "blend",
        "priority": Priority.INTERACTIVE,
        "input": {"n": 1},
        "steps": steps(*(families or ("captioner", "translator", "diffuser"))),
        "retention_s": 3600,
    }
    return NewJob(**{**defaults, **fields})


def new_file(file_id: str = "file_1", tenant: str = "t", **fields: Any) -> FileRecord:
    defaults: dict[str, Any] = {
        "id": file_id,
        "tenant": tenant,
        "purpose": "image",
        "key": f"files/{file_id}/{new_id('up')}",
        "bytes": 3,
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "media_type": "image/png",
        "width": 64,
        "height": 48,
        "created_at": 0,
        "expires_at": 3_600_000,
    }
    return FileRecord(**{**defaults, **fields})


def output(**outputs: Any) -> StepOutput:
    return StepOutput(outputs=outputs, revision="r1", batch_class=4, run_ms=12)


class World:
    """A ledger, and what a test does with it over and over."""

    def __init__(self, ledger: Any) -> None:
        self.ledger: Ledger = ledger
        self.advance = ledger.advance
        self.inconsistencies = ledger.inconsistencies
        self._tokens = count()

    def submit(self, *families: str, **fields: Any) -> str:
        """Accepted, waiting for admission."""
        return self.ledger.submit(new_job(*families, **fields)).job_id

    def queue(self, job_id: str) -> str:
        job = self.ledger.get(job_id)
        return job.steps[job.current].step.queue(job.priority)

    def publish(self, *families: str, **fields: Any) -> str:
        """A job whose first message is in the broker."""
        job_id = self.submit(*families, **fields)
        assert job_id in [p.job_id for p in self.ledger.admit(self.queue(job_id))]
        return job_id

    def claim(self, job_id: str, step: int = 0) -> Claim:
        """The answer to a new message for this step."""
        return self.ledger.claim(job_id, step, "worker-1", f"token-{next(self._tokens)}")

    def lease(self, *families: str, **fields: Any) -> tuple[str, int]:
        """A job whose first step a worker holds, and the fence."""
        job_id = self.publish(*families, **fields)
        claim = self.claim(job_id)
        assert claim.state == "ok"
        return job_id, claim.fence

    def ring_retries(self) -> None:
        """Let the pause before every retry pass."""
        self.advance(10_000)
        self.ledger.reap([])

    def finish(self, *families: str, **fields: Any) -> str:
        """A job that succeeded."""
        job_id = self.publish(*families, **fields)
        for step in range(len(self.ledger.get(job_id).steps)):
            self.ledger.commit(job_id, step, self.claim(job_id, step).fence, output())
        return job_id

    def job(self, job_id: str) -> JobRecord:
        return self.ledger.get(job_id)
