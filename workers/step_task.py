"""One step of a job on this worker: claim, fetch, infer, check, store, commit.

`StepRunner.run` is the body of the Celery task. The ledger decides everything: the message is
only a doorbell, and may come twice, late or not at all.
"""

import time
import uuid
from collections.abc import Callable
from functools import partial
from threading import Event

from shared import logs
from shared.contracts import CHUNK, JobRecord, StepOutput
from shared.errors import (
    ImagemillError,
    LeaseLost,
    LedgerUnavailable,
    StepCanceled,
    StepInterrupted,
)
from shared.item_jobs import is_chunk
from shared.layout import attempt_folder
from shared.ledger import Ledger
from shared.ledger.records import Outcome
from shared.manifest import save
from shared.object_store import ObjectStore
from shared.settings import Settings
from workers.attempt import Attempt, Workbench, known_error
from workers.batcher import MicroBatcher
from workers.chunk import Chunk
from workers.interim import Interim
from workers.item_pool import ItemPool, Place
from workers.leases import PROGRESS_PERIOD_S, Lease, LeaseKeeper
from workers.patience import Patience, retry_delay_s
from workers.safety import SafetyCheck
from workers.tickets import StepResult, Ticket

LEDGER_PATIENCE_S = 120.0
ENDED = ("next", "already", "succeeded", "failed", "canceled")  # of a step, for good

log = logs.get(__name__)


class StepRunner:
    """Runs steps for one worker; called from many threads."""

    def __init__(
        self,
        worker: str,
        settings: Settings,
        ledger: Ledger,
        store: ObjectStore,
        batcher: MicroBatcher,
        keeper: LeaseKeeper,
        admit: Callable[[str], None],
        items: ItemPool,
        stopping: Event | None = None,
    ) -> None:
        """`items`: where those of chunks run. `stopping` is set once the worker is to end:
        storage is waited for no longer."""
        self._worker = worker
        self._bench = Workbench(
            settings, ledger, store, batcher, SafetyCheck(settings), stopping or Event()
        )
        self._keeper = keeper
        self._admit = admit
        self._items = items

    def run(self, job_id: str, index: int) -> bool:
        """Take a step as far as it goes here. True: the chain's next link is to be published.

        Raises StepInterrupted where it cannot be taken here now, LedgerUnavailable.
        """
        with (
            logs.bound(job_id=job_id, step=index),
            self._items.place(CHUNK if is_chunk(job_id) else 0) as place,
            Interim(self._bench.store) as interim,
        ):
            with self._keeper.hold(job_id, index) as lease:
                claim = self._bench.ledger.claim(job_id, index, self._worker, uuid.uuid4().hex)
                if claim.state == "stale":
                    return claim.next_unclaimed
                if claim.state != "ok":
                    log.info("not claimed", state=claim.state)
                    return False
                lease.claimed(claim.fence, claim.attempt)
                outcome = self._attempt(lease, interim, place, claim.others_wait)
            log.info("step ended", outcome=outcome, attempt=claim.attempt, fence=claim.fence)
            if outcome in ("succeeded", "failed", "canceled"):
                self._settle(job_id)
            interim.erase(step_ended=outcome in ENDED)
            return outcome in ("next", "already", "succeeded")

    def _attempt(self, lease: Lease, interim: Interim, place: Place, others_wait: bool) -> Outcome:
        """Run the step and tell the ledger how it went, whatever happened."""
        held = lease.job_id, lease.step, lease.fence
        tell: Callable[[], Outcome]
        try:
            output = self._execute(lease, interim, place, others_wait)
            tell = partial(self._bench.ledger.commit, *held, output)
        except (StepCanceled, StepInterrupted, LeaseLost):
            # Of a lost lease the ledger only learns that there was one execution more.
            tell = partial(lease.release, self._bench.ledger)
        except Exception as error:
            known = known_error(error)
            if known is error:
                log.warning("attempt failed", code=known.code, error=known.message)
            else:
                log.exception("unexpected error")
            delay_s = retry_delay_s(known, lease.attempt)
            tell = partial(self._bench.ledger.fail, *held, known, delay_s)
        return self._persist(tell)

    def _execute(
        self, lease: Lease, interim: Interim, place: Place, others_wait: bool
    ) -> StepOutput:
        job = self._bench.ledger.get(lease.job_id)
        step = job.steps[lease.step].step
        if others_wait:
            self._admit(step.queue(job.priority))
        patience = Patience(lease, self._bench.stopping)
        place.waiting = len(job.items)
        if job.items:
            return Chunk(self._bench, job, lease, patience, place).run()
        return self._one(job, lease, interim, patience)

    def _one(
        self, job: JobRecord, lease: Lease, interim: Interim, patience: Patience
    ) -> StepOutput:
        """The step of a job that is one request."""
        step = job.steps[lease.step].step
        folder = attempt_folder(job.id, lease.step, step.name, lease.fence)
        with Attempt(self._bench, job, lease.step, folder, patience) as attempt:
            samples = attempt.samples()
            revision = self._bench.batcher.revision(step.model)
            interim.begin(job, lease, revision, attempt.stage.resumes)
            if lease.fence > 1:
                patience.outlast(interim.restore)
            ticket = attempt.submit(samples, lease.attempt > 1, interim.savepoints)
            result = self._result(lease, interim, patience, ticket)
            outputs, artifacts = attempt.store(result)
        return StepOutput(
            outputs=outputs,
            artifacts=artifacts,
            revision=result.revision,
            batch_class=result.batch_class,
            run_ms=result.run_ms,
        )

    def _result(
        self, lease: Lease, interim: Interim, patience: Patience, ticket: Ticket
    ) -> StepResult:
        """What the model made of the samples, waited for."""
        lease.on_stop(ticket.cancel)
        while not ticket.wait(PROGRESS_PERIOD_S):
            lease.report(ticket.progress, ticket.message, ticket.metrics)
            if interim.keep(ticket):
                lease.saved()
        try:
            return ticket.result()
        except StepCanceled:
            patience.go_on()
            raise

    def _persist(self, tell: Callable[[], Outcome]) -> Outcome:
        """Tell the ledger, waiting for it beyond the lease: while it is away nobody else can
        take the step either, and where only this worker cannot reach it, it shall count what
        came too late."""
        give_up = time.monotonic() + LEDGER_PATIENCE_S
        pause = 0.1
        while True:
            try:
                return tell()
            except LedgerUnavailable as error:
                if time.monotonic() > give_up:
                    log.warning("left to the reaper", error=error.message)
                    return "fenced"
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _settle(self, job_id: str) -> None:
        try:
            save(self._bench.ledger, self._bench.store, job_id)
        except ImagemillError as error:
            log.warning("manifest left to the reaper", error=error.message)
