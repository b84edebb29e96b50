"""One step of a job on this worker: claim, fetch, infer, check, store, commit.

`StepRunner.run` is the body of the Celery task. The ledger decides everything: the message is
only a doorbell, and may come twice, late or not at all.
"""

import time
import uuid
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any, TypeVar

from shared import logs
from shared.contracts import (
    Artifact,
    JobRecord,
    Priority,
    Produced,
    Step,
    StepOutput,
    StoredFile,
)
from shared.errors import (
    DeadlineExceeded,
    DiskFull,
    ImagemillError,
    LeaseLost,
    LedgerUnavailable,
    StepCanceled,
    StepInterrupted,
    StorageUnavailable,
    UnexpectedError,
)
from shared.kind import kinds
from shared.layout import attempt_folder
from shared.ledger import Ledger
from shared.ledger.records import Outcome
from shared.manifest import save
from shared.object_store import ObjectStore
from shared.settings import Settings
from shared.trained_models import TrainedModels
from workers.artifacts import encoded
from workers.batcher import MicroBatcher
from workers.interim import Interim
from workers.leases import PROGRESS_PERIOD_S, Lease, LeaseKeeper
from workers.resources import exhaustion
from workers.safety import SafetyCheck
from workers.step_inputs import StepInputs
from workers.tickets import StepResult

T = TypeVar("T")

STORAGE_PATIENCE_S = 600.0  # a result may have cost more than that
STORAGE_PAUSE_S = 1.0
LEDGER_PATIENCE_S = 120.0
WAITING = "waiting for storage"
ENDED = ("next", "already", "succeeded", "failed", "canceled")  # of a step, for good
OUTAGE_RETRY_S = 5.0  # a full disk or an absent S3 is not over in a second

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
        stopping: Event | None = None,
    ) -> None:
        """`stopping` is set once the worker is to end: storage is waited for no longer."""
        self._worker = worker
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._batcher = batcher
        self._keeper = keeper
        self._admit = admit
        self._safety = SafetyCheck(settings)
        self._stopping = stopping or Event()

    def run(self, job_id: str, index: int) -> bool:
        """Take a step as far as it goes here. True: the chain's next link is to be published."""
        with logs.bound(job_id=job_id, step=index), Interim(self._store) as interim:
            with self._keeper.hold(job_id, index) as lease:
                claim = self._ledger.claim(job_id, index, self._worker, uuid.uuid4().hex)
                if claim.state == "stale":
                    return claim.next_unclaimed
                if claim.state != "ok":
                    log.info("not claimed", state=claim.state)
                    return False
                lease.claimed(claim.fence, claim.attempt)
                outcome = self._attempt(lease, interim, claim.others_wait)
            log.info("step ended", outcome=outcome, attempt=claim.attempt, fence=claim.fence)
            if outcome in ("succeeded", "failed", "canceled"):
                self._settle(job_id)
            interim.erase(step_ended=outcome in ENDED)
            return outcome in ("next", "already", "succeeded")

    def _attempt(self, lease: Lease, interim: Interim, others_wait: bool) -> Outcome:
        """Run the step and tell the ledger how it went, whatever happened."""
        held = lease.job_id, lease.step, lease.fence
        tell: Callable[[], Outcome]
        try:
            patiently = partial(self._patiently, lease)
            with StepInputs(self._settings, self._ledger, self._store, patiently) as inputs:
                output = self._execute(lease, interim, inputs, others_wait)
            tell = partial(self._ledger.commit, *held, output)
        except (StepCanceled, StepInterrupted, LeaseLost):
            # Of a lost lease the ledger only learns that there was one execution more.
            tell = partial(lease.release, self._ledger)
        except ImagemillError as error:
            log.warning("attempt failed", code=error.code, error=error.message)
            tell = partial(self._ledger.fail, *held, error, retry_delay_s(error, lease.attempt))
        except Exception as error:
            log.exception("unexpected error")
            known: ImagemillError | None = exhaustion(error)
            if not isinstance(known, DiskFull):
                known = UnexpectedError(f"unexpected error: {type(error).__name__}")
            tell = partial(self._ledger.fail, *held, known, retry_delay_s(known, lease.attempt))
        return self._persist(tell)

    def _execute(
        self, lease: Lease, interim: Interim, inputs: StepInputs, others_wait: bool
    ) -> StepOutput:
        job = self._ledger.get(lease.job_id)
        step = job.steps[lease.step].step
        if others_wait:
            self._admit(step.queue(job.priority))
        kind = kinds()[job.kind]
        stage = kind.stage(kind.Input.model_validate(job.input), step.name)
        samples = inputs.fetch(step, stage.samples(step, job.outputs))
        interim.begin(job, lease, self._batcher.revision(step.model), stage.resumes)
        if lease.fence > 1:
            self._wait_for_storage(lease, interim.restore)
        result = self._infer(lease, interim, job, step, samples)
        produced = self._safety.screen(stage.produce(result.results), job.outputs.get("safety", ()))
        artifacts = self._store_artifacts(lease, job, step, result.revision, produced)
        if produced.failure:
            raise produced.failure
        return StepOutput(
            outputs=produced.outputs,
            artifacts=artifacts,
            revision=result.revision,
            batch_class=result.batch_class,
            run_ms=result.run_ms,
        )

    def _infer(
        self,
        lease: Lease,
        interim: Interim,
        job: JobRecord,
        step: Step,
        samples: list[dict[str, Any]],
    ) -> StepResult:
        ticket = self._batcher.submit(
            step.model,
            step.params,
            step.batch_class,
            samples,
            interactive=job.priority is Priority.INTERACTIVE,
            alone=lease.attempt > 1,  # it may have killed its model process the first time
            savepoints=interim.savepoints,
        )
        lease.on_stop(ticket.cancel)
        while not ticket.wait(PROGRESS_PERIOD_S):
            lease.report(ticket.progress, ticket.message, ticket.metrics)
            if interim.keep(ticket):
                lease.saved()
        try:
            return ticket.result()
        except StepCanceled:
            _go_on(lease)
            raise

    def _store_artifacts(
        self, lease: Lease, job: JobRecord, step: Step, revision: str, produced: Produced
    ) -> tuple[Artifact, ...]:
        """Upload under this attempt's fence: a late writer can overwrite nothing."""
        folder = attempt_folder(job.id, lease.step, step.name, lease.fence)
        stored = []
        trained, models = produced.trained, TrainedModels(self._store)
        files: dict[str, StoredFile] = {}
        for artifact, data in encoded(job, step, revision, produced, folder):
            metadata = {"job-id": job.id}
            put = partial(self._store.put, artifact.key, data, artifact.media_type, metadata)
            self._wait_for_storage(lease, put)
            stored.append(artifact)
            if trained and artifact.name in trained.files:
                keep = partial(models.put_file, trained, artifact.name, data)
                files[artifact.name] = self._wait_for_storage(lease, keep)
        if trained:
            self._wait_for_storage(lease, partial(models.register, trained, job.id, files))
        return tuple(stored)

    def _patiently(self, lease: Lease, attempt: Callable[[], T]) -> T:
        """`_wait_for_storage`, between whose calls the step can stop too."""
        _go_on(lease)
        return self._wait_for_storage(lease, attempt)

    def _wait_for_storage(self, lease: Lease, attempt: Callable[[], T]) -> T:
        """Try until S3 serves: an outage must not throw away what is computed.

        Raises StorageUnavailable after STORAGE_PATIENCE_S, and why the step must stop.
        """
        give_up = time.monotonic() + STORAGE_PATIENCE_S
        while True:
            try:
                return attempt()
            except StorageUnavailable as error:
                if time.monotonic() >= give_up:
                    raise
                if lease.message != WAITING:
                    log.warning(WAITING, error=error.message)
            lease.report(lease.progress, WAITING)
            if self._stopping.wait(STORAGE_PAUSE_S):
                raise StepInterrupted("the worker is shutting down")
            _go_on(lease)

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
            save(self._ledger, self._store, job_id)
        except ImagemillError as error:
            log.warning("manifest left to the reaper", error=error.message)


def _go_on(lease: Lease) -> None:
    """Raises StepCanceled, DeadlineExceeded, LeaseLost or StepInterrupted where the step must
    stop."""
    match lease.verdict:
        case "cancel":
            raise StepCanceled("the step was canceled")
        case "deadline":
            raise DeadlineExceeded("the deadline passed while the step ran")
        case "lost":
            raise LeaseLost("another worker holds the step")
    if lease.released:
        raise StepInterrupted("the worker is shutting down")


def retry_delay_s(error: ImagemillError, attempt: int) -> float:
    """The pause before a failed step is tried again: 1 s, 2 s, 4 s, …; OUTAGE_RETRY_S after
    what is not the step's fault, where `attempt` does not grow."""
    return float(2 ** (attempt - 1)) if error.burns_attempt else OUTAGE_RETRY_S
