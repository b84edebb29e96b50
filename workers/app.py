"""A worker: Celery's consumer threads, one batcher, one model process on one device."""

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from celery.apps.worker import Worker as CeleryWorker
from celery.concurrency import get_implementation
from celery.exceptions import Ignore, Reject
from celery.signals import setup_logging, worker_ready
from celery.worker import state as celery_state

from shared import logs
from shared.collector import S3_RETRY_S, Collector
from shared.contracts import Priority, WorkerRecord, queue_name
from shared.errors import ImagemillError, LedgerUnavailable, ModelNotAvailable, StepInterrupted
from shared.ledger import Ledger
from shared.models import Model, Registry
from shared.object_store import S3ObjectStore
from shared.queues import STEP_TASK, admit, broker_app, idle_queues
from shared.reaper import Reaper, wait_for_servers
from shared.settings import Settings
from workers.allocator import keep_freed_memory
from workers.batcher import MicroBatcher
from workers.heartbeat import Heartbeat
from workers.item_pool import ItemPool
from workers.leases import LeaseKeeper
from workers.model_files import checkpoint, resolve_model
from workers.model_process import ModelProcess
from workers.predictor import Checkpoint
from workers.queue_order import HeldFirst
from workers.shutdown import Shutdown
from workers.step_task import StepRunner
from workers.watchdog import EXIT_STATUS, Watchdog

BATCHES_IN_FLIGHT = 3  # one runs, one is being made ready, one is being stored
AHEAD_S = 2.0  # enough to claim the next step and to fetch its pictures while a batch ends
STORE_RETRY_S = 5.0  # the step itself waits longer, and looks in between whether it must stop
HAND_BACK_S = 1.0  # before a message goes back to the broker, where this one may get it again
STORING_SHARE = 0.2  # of the grace of a shutdown: for storing what the model has made

log = logs.get(__name__)


@setup_logging.connect
def _keep_logging(**_: object) -> None:
    """With a receiver for this signal, Celery leaves the process's logging as it is."""
    logging.getLogger("celery").setLevel(logging.WARNING)  # the step's own lines say more


class Consumer(CeleryWorker):
    """Celery's worker, without its signal handlers."""

    def install_platform_tweaks(self, worker: CeleryWorker) -> None:
        pass


class Worker:
    """One family on one device, from start to exit."""

    def __init__(
        self,
        family: str,
        device: str,
        names: Sequence[str],
        settings: Settings,
        predictor: str | None = None,
    ) -> None:
        """`predictor` (`module:class`) is what computes, where that is not the family itself.

        Raises SettingsError and ModelNotAvailable before anything is started.
        """
        served = served_models(family, names, settings)
        self._checkpoints = [checkpoint for _, checkpoint in served]
        self._settings = settings
        self._family = family
        self._predictor = predictor or family
        self._device = device
        self._revisions = {each.model: each.revision for each in self._checkpoints}
        self._name = f"{family}@{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._started_at = time.time_ns() // 1_000_000
        self._queues = sorted(self._queues_of(self._revisions))
        self._slots = max(in_flight(model) for model, _ in served)
        self._ledger = Ledger.connect(settings)
        self._items = ItemPool(self._slots)
        self._batch_class = max(model.batch_class.interactive for model, _ in served)
        order = partial(
            HeldFirst, self._preferred, lambda: self._items.full, self._busy, self._sated
        )
        self._app = broker_app(
            settings, queue_order=order, transport="workers.broker_line:Transport"
        )
        self._heartbeat: Heartbeat | None = None
        self._stopping = threading.Event()

    def run(self) -> int:
        """Consume until told to stop; returns the exit status.

        Raises SettingsError where the ledger or the broker could lose jobs, ModelNotAvailable.
        """
        for number in (signal.SIGTERM, signal.SIGINT):  # as long as nothing is held
            signal.signal(number, lambda *_: sys.exit(os.EX_OK))
        wait_for_servers(self._app, self._ledger, self._stopping)
        shutdown = Shutdown(self._settings.shutdown_grace_s, self._drain, self._give_up)
        self._process = ModelProcess(
            self._predictor,
            self._device,
            self._checkpoints,
            on_lost=lambda: shutdown.at_once(EXIT_STATUS),
            memory_gb=self._settings.memory_gb,
            savepoint_s=self._settings.savepoint_s,
        )
        self._batcher = MicroBatcher(self._process)
        self._keeper = LeaseKeeper(self._ledger, self._settings)
        try:
            self._process.wait_ready()
            return self._consume(shutdown)
        finally:
            self._stopping.set()
            self._batcher.close(0)
            self._process.close()
            self._keeper.close()

    def _consume(self, shutdown: Shutdown) -> int:
        watchdog = Watchdog(
            self._settings.watchdog_s,
            self._work_waits,
            self._has_room,
            lambda: shutdown.at_once(EXIT_STATUS),
        )

        def ready(**_: Any) -> None:
            # What is there now stays until the end. Otherwise the collector stops every thread
            # for a few tenths of a second again and again, while the model waits for its samples.
            gc.collect()
            gc.freeze()
            self._heartbeat = Heartbeat(self._ledger, self._describe)
            log.info("ready", worker=self._name, device=self._device, models=self._revisions)

        worker_ready.connect(ready)
        self._serve_steps(watchdog.reached)
        consumer = Consumer(
            app=self._app,
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
        shutdown.on_signals()
        watchdog.start(self._stopping)
        self._sweep()
        try:
            consumer.start()
        finally:
            if self._heartbeat:
                self._heartbeat.close()
        return consumer.exitcode or 0

    def _serve_steps(self, reached: Callable[[], None]) -> None:
        """Make the Celery task; `reached` hears of every message."""
        app = self._app
        # Nobody sends commands to workers; without them there is one connection less to lose.
        app.conf.worker_enable_remote_control = False

        def let_in(queue: str) -> None:
            try:
                admit(app, self._ledger, [queue])
            except LedgerUnavailable as error:
                log.warning("admission left to the reaper", queue=queue, error=error.message)

        store = S3ObjectStore(self._settings, STORE_RETRY_S)
        store.connect()  # before `ready`
        runner = StepRunner(
            self._name,
            self._settings,
            self._ledger,
            store,
            self._batcher,
            self._keeper,
            let_in,
            self._items,
            self._stopping,
        )

        @app.task(name=STEP_TASK)
        def step(job_id: str, index: int) -> None:
            reached()
            try:
                if self._heartbeat and not self._heartbeat.answered:
                    raise LedgerUnavailable("the ledger has not answered lately")
                if runner.run(job_id, index):
                    return
            except (StepInterrupted, LedgerUnavailable) as error:
                # Not claimed: for a worker that takes steps, and reaches the ledger. Kept, the
                # message would be lost; given back at once, it would only go round.
                log.info("handed back", job_id=job_id, step=index, reason=error.message)
                self._stopping.wait(HAND_BACK_S)
                raise Reject(requeue=True) from None
            except ImagemillError as error:
                log.warning("left to the reaper", job_id=job_id, error=error.message)
            raise Ignore  # ends the chain here; the ledger knows how the job goes on

    def _sweep(self) -> None:
        """Take a part in what keeps the service going, so that no process is the only one."""
        store = S3ObjectStore(self._settings, retry_s=S3_RETRY_S)
        store.connect()
        Reaper(self._app, self._ledger, self._settings).start(self._stopping)
        Collector(self._ledger, store, self._settings).start(self._stopping)

    def _busy(self) -> bool:
        """Whether it has a batch of single jobs: the next one is better off elsewhere."""
        # Counted as they arrive: with the leases it would have asked for the next one by then.
        singles = len(celery_state.reserved_requests) - self._items.chunks
        return singles >= self._batch_class

    def _sated(self) -> bool:
        """Whether it is busy for so long that another worker may be free before it is."""
        return self._busy() and not self._batcher.may_end_within(AHEAD_S)

    def _has_room(self) -> bool:
        """Whether it takes whatever waits: with chunks enough it leaves the bulk queues alone."""
        free = self._keeper.held < self._slots and not self._items.full
        return free and not self._sated() and not self._stopping.is_set()

    def _work_waits(self) -> bool:
        """Whether a message lies in one of this worker's queues. Raises BrokerUnavailable."""
        return len(list(idle_queues(self._app, self._queues))) < len(self._queues)

    def _drain(self) -> None:
        """Take nothing new; what will not end within the grace is released now.

        The model process is not waited for. Celery waits for the threads, which end when their
        steps do.
        """
        self._stopping.set()
        celery_state.should_stop = os.EX_OK
        self._keeper.drain()
        grace_s = (1 - STORING_SHARE) * self._settings.shutdown_grace_s
        threading.Thread(target=self._batcher.close, args=(grace_s,), daemon=True).start()

    def _give_up(self) -> None:
        """Give everything back, also what is being stored, and leave the list of workers."""
        self._stopping.set()
        self._keeper.release_all()
        if self._heartbeat:
            self._heartbeat.close()

    def _preferred(self) -> set[str]:
        """The queues of the models in memory."""
        return self._queues_of(self._process.held)

    def _queues_of(self, models: Iterable[str]) -> set[str]:
        return {
            queue_name(self._family, model, priority) for model in models for priority in Priority
        }

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
            held=tuple(sorted(self._process.held)),
        )


def served_models(
    family: str, names: Sequence[str], settings: Settings
) -> list[tuple[Model, Checkpoint]]:
    """What a worker serves, the first to be loaded first: the models named; or the profile's and
    every other one of the family whose files are on this machine.

    Raises SettingsError; ModelNotAvailable where a named one is not here, or none at all.
    """
    registry = Registry.load(settings.models_dir)
    default = registry.profile(settings.profile).get(family)
    known = sorted(name for each, name in registry.models if each == family and name != default)
    served: list[tuple[Model, Checkpoint]] = []
    missing: list[ModelNotAvailable] = []
    for name in names or ([default] if default else []) + known:
        try:
            model = resolve_model(registry, family, name)
            served.append((model, checkpoint(model, settings.models_dir, registry)))
        except ModelNotAvailable as error:
            if names:
                raise
            if name == default:
                log.warning("the profile's model is not served", error=error.message)
            missing.append(error)
    if served:
        return served
    if missing:
        raise missing[0]
    raise ModelNotAvailable(f"the profile has no {family}; name a model with --models")


def in_flight(model: Model) -> int:
    """How many steps a worker of the model may hold."""
    batches = 1 if model.long else BATCHES_IN_FLIGHT
    return batches * max(model.batch_class.interactive, model.batch_class.bulk)


def run_worker(
    family: str,
    device: str,
    names: Sequence[str],
    settings: Settings,
    predictor: str | None = None,
) -> int:
    """Run one worker in the foreground; returns its exit status. For `predictor` see Worker."""
    keep_freed_memory()
    logs.configure(settings.log_level)
    return Worker(family, device, names, settings, predictor).run()
