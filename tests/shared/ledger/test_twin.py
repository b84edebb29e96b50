"""The twin and the real ledger, step by step: whatever is called, both must answer alike."""

import operator
import os
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import hypothesis
import redis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.batches import BatchRecord
from shared.contracts import BatchPlace, JobRecord, JobStatus, Priority
from shared.errors import ImagemillError, ModelProcessDied, PredictionFailed, StorageUnavailable
from shared.ledger import Ledger
from shared.settings import Settings
from tests.shared.ledger.world import (
    ClockedLedger,
    ClockedMemoryLedger,
    new_batch,
    new_file,
    new_job,
    output,
)

SCALE = int(os.environ.get("IMAGEMILL_HYPOTHESIS_SCALE", "1"))  # to look longer than usual
DAY_MS = 86_400_000
JOBS = [f"job_{i}" for i in range(4)]
FILES = [f"file_{i}" for i in range(2)]
BATCHES = [f"batch_{i}" for i in range(2)]
CODES: list[dict[str, int]] = [{}, {}, {"poison": 1}, {"poison": 2, "invalid_image": 1}]
FAMILIES = ["captioner", "diffuser"]
CHAINS = [("captioner",), ("captioner", "diffuser"), ("diffuser", "captioner", "diffuser")]
QUEUES = [f"{rank}.{family}.tiny" for rank in ("1-interactive", "2-bulk") for family in FAMILIES]
ERRORS = [ModelProcessDied("died"), PredictionFailed("NaN"), StorageUnavailable("away")]

jobs = st.sampled_from(JOBS)
files = st.sampled_from(FILES)
queues = st.sampled_from(QUEUES)
batches = st.sampled_from(BATCHES)
steps = st.integers(0, 2)
mostly = st.sampled_from([True, True, True, False])


class LedgerMachine(RuleBasedStateMachine):
    """`memory` is asked first; `server` must answer the same."""

    memory: ClockedMemoryLedger
    server: ClockedLedger

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, JobRecord] = {}  # as manifests keep them
        self.batches: dict[str, BatchRecord] = {}

    def both(self, call: Callable[[Ledger], Any]) -> None:
        assert self.answer(self.server, call) == self.answer(self.memory, call)

    def answer(self, ledger: Ledger, call: Callable[[Ledger], Any]) -> Any:
        try:
            return call(ledger)
        except ImagemillError as error:
            return type(error), error.message

    def held(self, job_id: str, live: bool) -> tuple[int, int]:
        """The job's step and fence, or those of a holder that is late."""
        job = self.memory._state.jobs.get(job_id)
        if job is None:
            return 0, 1
        return (job.current, job.fence) if live else (max(job.current - 1, 0), job.fence - 1)

    @initialize(moves=st.lists(st.integers(0, 6), min_size=len(JOBS), max_size=len(JOBS)))
    def begin(self, moves: list[int]) -> None:
        """Jobs that are on their way already, so that few steps lead to what is rare."""
        for file_id in FILES:
            self.put_file(file_id)
        for i, job_id in enumerate(JOBS):
            chain, idempotency = CHAINS[i % len(CHAINS)], (job_id, "1")
            self.submit(job_id, chain, Priority.INTERACTIVE, None, FILES[i:], idempotency)
            for move in range(moves[i]):
                if move % 2:
                    self.commit(job_id, live=True)
                else:
                    self.claim(job_id, live=True, step=0, token="a")
            self.save(job_id, behind=False)
        for batch_id in BATCHES:
            self.create_batch(batch_id, None, 0, False, FILES[:1])
            self.indexed(batch_id, 3)
            self.chunk_job(JOBS[0], batch_id, "captioner", again=False)

    @rule(
        job_id=jobs,
        chain=st.sampled_from(CHAINS),
        priority=st.sampled_from(Priority),
        deadline_s=st.sampled_from([None, None, 15, 70]),
        needed=st.lists(files, max_size=2),
        idempotency=st.none() | st.tuples(st.sampled_from("kl"), st.sampled_from("12")),
    )
    def submit(
        self,
        job_id: str,
        chain: tuple[str, ...],
        priority: Priority,
        deadline_s: float | None,
        needed: list[str],
        idempotency: tuple[str, str] | None,
    ) -> None:
        job = new_job(
            *chain, id=job_id, priority=priority, deadline_s=deadline_s, files=tuple(needed)
        )
        self.both(lambda ledger: ledger.submit(job, idempotency))

    @rule(file_id=files)
    def put_file(self, file_id: str) -> None:
        file = new_file(file_id, key=f"files/{file_id}")
        self.both(lambda ledger: ledger.put_file(file))

    @rule(file_id=files)
    def delete_file(self, file_id: str) -> None:
        self.both(lambda ledger: ledger.delete_file("t", file_id))

    @rule(queue=queues)
    def admit(self, queue: str) -> None:
        self.both(lambda ledger: ledger.admit(queue))

    @rule(job_id=jobs, live=mostly, step=steps, token=st.sampled_from("abc"))
    def claim(self, job_id: str, live: bool, step: int, token: str) -> None:
        step = self.held(job_id, live)[0] if live else step
        self.both(lambda ledger: ledger.claim(job_id, step, "worker", token))

    @rule(job_id=jobs, live=mostly, progress=st.floats(0, 1), saved=st.booleans())
    def renew(self, job_id: str, live: bool, progress: float, saved: bool) -> None:
        step, fence = self.held(job_id, live)
        news = (progress, "drawing", {"loss": 1 - progress}, saved)
        self.both(lambda ledger: ledger.renew(job_id, step, fence, *news))

    @rule(job_id=jobs, live=mostly)
    def commit(self, job_id: str, live: bool) -> None:
        step, fence = self.held(job_id, live)
        self.both(lambda ledger: ledger.commit(job_id, step, fence, output(step=step)))

    @rule(job_id=jobs, live=mostly, error=st.sampled_from(ERRORS), delay_s=st.sampled_from([0, 5]))
    def fail(self, job_id: str, live: bool, error: ImagemillError, delay_s: float) -> None:
        step, fence = self.held(job_id, live)
        self.both(lambda ledger: ledger.fail(job_id, step, fence, error, delay_s))

    @rule(job_id=jobs, live=mostly)
    def release(self, job_id: str, live: bool) -> None:
        step, fence = self.held(job_id, live)
        self.both(lambda ledger: ledger.release(job_id, step, fence))

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        self.both(lambda ledger: ledger.cancel(job_id))

    @rule(job_id=jobs)
    def delete(self, job_id: str) -> None:
        self.both(lambda ledger: ledger.delete(job_id))

    @rule(ms=st.sampled_from([1, 4_999, 10_000, 60_000, 300_000, -60_000, DAY_MS]))
    def advance(self, ms: int) -> None:
        self.memory.advance(ms)
        self.server.advance(ms)

    @rule(idle=st.lists(queues, unique=True), limit=st.sampled_from([1, 100]))
    def reap(self, idle: list[str], limit: int) -> None:
        self.both(lambda ledger: ledger.reap(idle, limit))

    @rule(queue=queues, limit=st.sampled_from([1, 100]))
    def fail_unserved(self, queue: str, limit: int) -> None:
        self.both(lambda ledger: ledger.fail_unserved(queue, "not served", limit))

    @rule(
        status=st.none() | st.sampled_from(JobStatus),
        limit=st.integers(1, 3),
        after=st.none() | st.sampled_from("13579"),
    )
    def listing(self, status: JobStatus | None, limit: int, after: str | None) -> None:
        self.both(lambda ledger: ledger.jobs("t", status=status, limit=limit, after=after))

    @rule(job_id=jobs, behind=mostly.map(operator.not_))
    def save(self, job_id: str, behind: bool) -> None:
        record = self.answer(self.memory, methodcaller("get", job_id))
        if isinstance(record, JobRecord):
            self.records[job_id] = record
            written = record.model_copy(update={"version": record.version - behind})
            self.both(lambda ledger: ledger.saved(written))
        elif job_id in self.records and behind:
            self.both(lambda ledger: ledger.saved(self.records[job_id]))
        else:
            self.both(lambda ledger: ledger.nothing_to_save(job_id))

    @rule(limit=st.sampled_from([1, 100]), later=st.booleans())
    def expire(self, limit: int, later: bool) -> None:
        if later:
            self.advance(7_200_000)
        self.both(lambda ledger: ledger.expire(limit))

    @precondition(lambda self: self.records)
    @rule(data=st.data(), erased=mostly, gap=st.sampled_from([0, 1000]))
    def restore(self, data: st.DataObject, erased: bool, gap: int) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.records)))
        record = self.records[job_id]
        if erased:
            self.both(methodcaller("delete", job_id))
            self.both(methodcaller("release", job_id, *self.held(job_id, live=True)))
            self.both(methodcaller("erased", f"jobs/{job_id}/"))
        self.both(lambda ledger: ledger.restore(record, record.fence + gap))

    @precondition(lambda self: self.records)
    @rule(again=st.booleans())
    def lose_everything(self, again: bool) -> None:
        self.memory.lose_everything()
        self.server.lose_everything()
        if again:
            for record in self.records.values():
                self.both(methodcaller("restore", record, record.fence + 1000))

    @rule(file_id=files, age_ms=st.sampled_from([0, 3_599_000]))
    def restore_file(self, file_id: str, age_ms: int) -> None:
        uploaded_at = self.memory._state.now - age_ms
        times = {"created_at": uploaded_at, "expires_at": uploaded_at + 3_600_000}
        file = new_file(file_id, key=f"files/{file_id}", **times)
        self.both(lambda ledger: ledger.restore_file(file))

    @rule(
        batch_id=batches,
        idempotency=st.none() | st.tuples(st.sampled_from("kl"), st.sampled_from("12")),
        window_s=st.sampled_from([0, 70]),
        paused=st.booleans(),
        needed=st.lists(files, max_size=2),
    )
    def create_batch(
        self,
        batch_id: str,
        idempotency: tuple[str, str] | None,
        window_s: float,
        paused: bool,
        needed: list[str],
    ) -> None:
        asked = {"start_paused": paused, "completion_window_s": window_s or None}
        new = new_batch(id=batch_id, files=tuple(needed), **asked)
        self.both(lambda ledger: ledger.create_batch(new, idempotency))

    @rule(batch_id=batches, chunks=st.integers(1, 3))
    def indexed(self, batch_id: str, chunks: int) -> None:
        self.both(lambda ledger: ledger.indexed(batch_id, chunks, 64 * chunks - 5, 1_000))

    @rule(batch_id=batches)
    def fail_batch(self, batch_id: str) -> None:
        self.both(lambda ledger: ledger.fail_batch(batch_id, []))

    @rule(job_id=jobs, batch_id=batches, family=st.sampled_from(FAMILIES), again=st.booleans())
    def chunk_job(self, job_id: str, batch_id: str, family: str, again: bool) -> None:
        """Of a chunk that is opened for it, or was before."""
        if not again:
            self.both(lambda ledger: ledger.open_chunk(batch_id, 2))
        chunk, opening = self.opened(batch_id)
        place = BatchPlace(batch_id=batch_id, chunk=chunk, opening=opening)
        job = new_job(family, id=job_id, batch=place, priority=Priority.BULK)
        self.both(lambda ledger: ledger.submit(job))
        self.both(lambda ledger: ledger.chunk_jobs(batch_id, chunk, opening, [job_id]))

    @rule(batch_id=batches, live=mostly, codes=st.sampled_from(CODES))
    def close_chunk(self, batch_id: str, live: bool, codes: dict[str, int]) -> None:
        chunk, opening = self.opened(batch_id)
        failed = sum(codes.values())
        told = (chunk, opening if live else opening - 1, 64 - failed, failed, codes)
        self.both(lambda ledger: ledger.close_chunk(batch_id, *told))

    def opened(self, batch_id: str) -> tuple[int, int]:
        batch = self.memory._state.batches.get(batch_id)
        opened = batch.record.open if batch else {}
        return next(((chunk, each.opening) for chunk, each in opened.items()), (0, 1))

    @rule(
        batch_id=batches,
        move=st.sampled_from(
            ["pause_batch", "resume_batch", "cancel_batch", "expire_batch", "retry_batch"]
        ),
    )
    def move_batch(self, batch_id: str, move: str) -> None:
        self.both(methodcaller(move, batch_id))

    @rule(batch_id=batches)
    def finished(self, batch_id: str) -> None:
        self.both(lambda ledger: ledger.finished(batch_id, "file_out", None))
        if batch := self.memory._state.batches.get(batch_id):
            self.batches[batch_id] = batch.record

    @rule(batch_id=batches, seldom=mostly)
    def delete_batch(self, batch_id: str, seldom: bool) -> None:
        if not seldom:
            self.both(methodcaller("delete_batch", batch_id))

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), codes=st.sampled_from(CODES))
    def restore_batch(self, data: st.DataObject, codes: dict[str, int]) -> None:
        record = self.batches[data.draw(st.sampled_from(sorted(self.batches)))]
        self.both(methodcaller("erased", f"batches/{record.id}/"))
        self.both(lambda ledger: ledger.restore_batch(record, {1: codes}))

    @rule(name=st.sampled_from("ab"), every_s=st.sampled_from([60, 90]))
    def take_turn(self, name: str, every_s: float) -> None:
        self.both(lambda ledger: ledger.take_turn(name, every_s))

    @rule(complete=st.booleans())
    def knows_since(self, complete: bool) -> None:
        if complete:
            self.both(methodcaller("knows_everything"))
        self.both(methodcaller("knows_since"))

    @rule()
    def erased(self) -> None:
        for key in self.memory.garbage(limit=1):
            self.both(methodcaller("erased", key))

    @invariant()
    def same(self) -> None:
        self.both(self.everything)

    def everything(self, ledger: Ledger) -> list[Any]:
        return [
            *(self.answer(ledger, methodcaller("get", job_id)) for job_id in JOBS),
            *(self.answer(ledger, methodcaller("file_key", file_id)) for file_id in FILES),
            *(ledger.queue_position(job) for job in ledger.jobs("t").jobs),
            *(self.answer(ledger, methodcaller("batch", batch_id)) for batch_id in BATCHES),
            ledger.batches("t"),
            ledger.active_batches(),
            ledger.queues(),
            ledger.garbage(),
            ledger.unsaved(5),
            ledger.counters(),
        ]

    def teardown(self) -> None:
        assert list(self.server.inconsistencies()) == []
        assert list(self.memory.inconsistencies()) == []


def test_the_twin_and_the_server_agree(settings: Settings, ledger_client: redis.Redis) -> None:
    small = settings.model_copy(update={"admit_per_queue": 2, "max_attempts": 2})

    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__()
            ledger_client.flushdb()
            self.memory = ClockedMemoryLedger(small)
            self.server = ClockedLedger(ledger_client, small)

    run_state_machine_as_test(
        Machine,
        settings=hypothesis.settings(
            max_examples=20 * SCALE,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
        ),
    )
