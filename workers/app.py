"""A worker: Celery's consumer threads, one batcher, one model process on one device."""

import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.concurrency import get_implementation
from celery.exceptions import Ignore
from celery.signals import setup_logging, worker_ready
from celery.worker import state as celery_state

from shared import logs
from shared.contracts import Priority, WorkerRecord, queue_name
from shared.errors import ImagemillError, LedgerUnavailable, ModelNotAvailable
from shared.ledger import Ledger
from shared.models import Model, Registry
from shared.object_store import S3ObjectStore
from shared.queues import STEP_TASK, admit, broker_app
from shared.settings import Settings
from workers.batcher import MicroBatcher
from workers.heartbeat import Heartbeat
from workers.leases import LeaseKeeper
from workers.model_files import checkpoint, resolve_model
from workers.model_process import ModelProcess
from workers.step_task import StepRunner

BATCHES_IN_FLIGHT = 3  # one runs, one is being made ready, one is being stored

log = logs.get(__name__)


@setup_logging.connect
def _keep_logging(**_: object) -> None:
    """With a receiver for this signal, Celery leaves the process's logging as it is."""
    logging.getLogger("celery").setLevel(logging.WARNING)  # the step's own lines say more


class Worker:
    """One family on one device, from start to exit."""

    def __init__(self, family: str, device: str, names: Sequence[str], settings: Settings) -> None:
        """Raises SettingsError and ModelNotAvailable before anything is started."""
        registry = Registry.load(settings.models_dir)
        default = registry.profile(settings.profile).get(family)
        if not names and default is None:
            raise ModelNotAvailable(f"the profile has no {family}; name a model with --models")
        names = names or [str(default)]
        self._models = [resolve_model(registry, family, name) for name in names]
        checkpoints = [checkpoint(model, settings.models_dir) for model in self._models]
        self._settings = settings
        self._family = family
        self._device = device
        self._revisions = {each.model: each.revision for each in checkpoints}
        self._name = f"{family}@{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._started_at = time.time_ns() // 1_000_000
        self._queues = sorted(
            queue_name(family, model.name, priority)
            for model in self._models
            for priority in Priority
        )
        self._slots = BATCHES_IN_FLIGHT * max(_largest_batch(model) for model in self._models)
        self._ledger = Ledger.connect(settings)
        self._ledger.check()
        self._process = ModelProcess(family, device, checkpoints)
        self._batcher = MicroBatcher(self._process)
        self._keeper = LeaseKeeper(self._ledger, settings)
        self._stopping = threading.Event()

    def run(self) -> int:
        """Consume until told to stop; returns the exit status. Raises ModelNotAvailable."""
        try:
            self._process.wait_ready()
            return self._consume()
        finally:
            self._batcher.close(0)
            self._process.close()
            self._keeper.close()

    def _consume(self) -> int:
        app = self._celery()
        heartbeats: list[Heartbeat] = []

        def ready(**_: Any) -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            heartbeats.append(Heartbeat(self._ledger, self._describe))
            log.info("ready", worker=self._name, device=self._device, models=self._revisions)

        worker_ready.connect(ready)
        consumer = app.Worker(
            hostname=self._name,
            pool_cls=get_implementation("threads"),
            concurrency=self._slots,
            queues=self._queues,
            loglevel=self._settings.log_level.upper(),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        try:
            consumer.start()
        finally:
            for heartbeat in heartbeats:
                heartbeat.close()
        return consumer.exitcode or 0

    def _celery(self) -> Celery:
        app = broker_app(self._settings)

        def let_in(queue: str) -> None:
            try:
                admit(app, self._ledger, [queue])
            except LedgerUnavailable as error:
                log.warning("admission left to the reaper", queue=queue, error=error.message)

        runner = StepRunner(
            self._name,
            self._settings,
            self._ledger,
            S3ObjectStore(self._settings),
            self._batcher,
            self._keeper,
            let_in,
        )

        @app.task(name=STEP_TASK)
        def step(job_id: str, index: int) -> None:
            try:
                if runner.run(job_id, index):
                    return
            except ImagemillError as error:
                log.warning("left to the reaper", job_id=job_id, error=error.message)
            raise Ignore  # ends the chain here; the ledger knows how the job goes on

        return app

    def _on_signal(self, *_: object) -> None:
        """First: finish what ends within the grace, release the rest. Again: release all now.

        Celery's own shutdown waits for the threads, which end when their steps do.
        """
        grace_s = 0.0 if self._stopping.is_set() else self._settings.shutdown_grace_s
        self._stopping.set()
        celery_state.should_stop = os.EX_OK
        threading.Thread(target=self._batcher.close, args=(grace_s,), daemon=True).start()

    def _describe(self) -> WorkerRecord:
        return WorkerRecord(
            name=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            family=self._family,
            device=self._device,
            models=self._revisions,
            queues=tuple(self._queues),
            slots=self._slots,
            busy=self._keeper.held,
            started_at=self._started_at,
            model_pid=self._process.pid,
        )


def _largest_batch(model: Model) -> int:
    return max(model.batch_class.interactive, model.batch_class.bulk)


def run_worker(family: str, device: str, names: Sequence[str], settings: Settings) -> int:
    """Run one worker in the foreground; returns its exit status."""
    logs.configure(settings.log_level)
    return Worker(family, device, names, settings).run()
