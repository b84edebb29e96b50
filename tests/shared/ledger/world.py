"""A ledger under test, in memory or on a real server, with a clock that the test moves."""

import hashlib
import math
from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

import redis

from shared.batches import NewBatch
from shared.contracts import FileRecord, JobRecord, NewJob, Priority, Step, StepOutput, new_id
from shared.ledger import Ledger
from shared.ledger.inspect import index_errors
from shared.ledger.records import Claim
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from shared.testing.ledger_state import LedgerState

START_MS = 1_800_000_000_000
CLOCK = "local now = clock()"
TEST_CLOCK = "local now = tonumber(redis.call('GET', 'test_clock'))"


class Clocked(Protocol):
    """A ledger that can let time pass, and check that what it keeps agrees with itself."""

    def advance(self, ms: int) -> None: ...

    def inconsistencies(self) -> Iterator[str]: ...

    def lose_everything(self) -> None: ...


class ClockedMemoryLedger(MemoryLedger):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, clock=lambda: START_MS)

    def inconsistencies(self) -> Iterator[str]:
        for job_id, job in self._state.jobs.items():
            if (job.phase == "ended") != job.status.terminal:
                yield f"{job_id}: {job.phase}, but {job.status}"
        for file_id, file in self._state.files.items():
            if file.deleted and not self._state.needed(file_id):
                yield f"{file_id}: deleted and not needed, but there"
        if not self._state.unsaved.keys() <= self._state.jobs.keys():
            yield "unsaved: jobs that are gone"

    def lose_everything(self) -> None:
        self._state = LedgerState(now=self._state.now)


class ClockedRedis(redis.Redis):
    """A client of a real server that answers TIME with the test's clock."""

    def time(self, **options: Any) -> tuple[int, int]:
        now = int(self.get("test_clock"))
        return now // 1000, now % 1000 * 1000


class ClockedLedger(Ledger):
    """The real scripts on a real server, by the test's clock.

    Keys that the server would let expire by its own clock (after whole seconds, all of them) are
    kept until the test's clock has come so far.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        super().__init__(client, settings)
        self._until: dict[str, int] = {}
        client.set("test_clock", START_MS)
        for name, script in self._scripts.items():
            assert CLOCK in script.script
            self._scripts[name] = client.register_script(script.script.replace(CLOCK, TEST_CLOCK))

    def advance(self, ms: int) -> None:
        for key in self._redis.scan_iter():
            left_ms = self._redis.pttl(key)
            if left_ms > 0:
                self._until[key] = self._now() + math.ceil(left_ms / 1000) * 1000
                self._redis.persist(key)
        self._redis.incrby("test_clock", ms)
        for key in [key for key, until in self._until.items() if until <= self._now()]:
            self._redis.delete(key)
            del self._until[key]

    def _now(self) -> int:
        return int(self._redis.get("test_clock"))

    def inconsistencies(self) -> Iterator[str]:
        return index_errors(self._redis)

    def lose_everything(self) -> None:
        now = self._now()
        self._redis.flushdb()
        self._until.clear()
        self._redis.set("test_clock", now)


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


def new_batch(**fields: Any) -> NewBatch:
    defaults: dict[str, Any] = {
        "id": new_id("batch"),
        "tenant": "t",
        "request": {"source": {"type": "s3_prefix"}},
        "base_url": "http://api.test",
        "retention_s": 3600,
    }
    return NewBatch(**{**defaults, **fields})


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
        self.lose_everything = ledger.lose_everything
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
