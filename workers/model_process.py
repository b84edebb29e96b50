"""The worker's handle on its model process: spawn, ask, watch, kill, respawn.

The process is a fresh interpreter (never a fork, which CUDA does not survive) with its device
pinned before anything is imported. One permanent thread starts it and reads from it: the kernel
ends a child when the *thread* that started it ends, so no passing thread may do so.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from shared import logs
from shared.errors import (
    DiskFull,
    ImagemillError,
    ModelNotAvailable,
    ModelProcessDied,
    OutOfMemory,
    StepInterrupted,
)
from workers.held_models import in_gb, needed_bytes
from workers.model_events import (
    Cancel,
    Done,
    Failed,
    FromModel,
    Held,
    Hold,
    Load,
    LoadFailed,
    Predict,
    Preview,
    Progress,
    Report,
    Saved,
    Withdraw,
    Withdrawn,
)
from workers.predictor import Batch, Checkpoint, Result
from workers.resources import OomKills, exhaustion
from workers.sample_pipe import SampleSender
from workers.scratch import Scratch, remove_abandoned
from workers.telemetry import NO_TELEMETRY

log = logs.get(__name__)

ROOT = Path(__file__).parents[1]
MAX_BACKOFF_S = 30.0
RELOADS = 3  # failures in a row of a model that was loaded before, until they are told
SAVEPOINT_S = 60.0
ORDERS = 2  # at most: one is carried out, and one follows it at once
OnReport = Callable[[Report], object]


class ModelNotReady(Exception):
    """The model process is loading: ask again after `wait_ready`."""


class NotBegun(Exception):
    """The order was withdrawn, or the process has ended, before its turn came."""


@dataclass(frozen=True)
class Prediction:
    """What a batch gave: one result per sample, and how long the model ran."""

    results: Sequence[Result]
    run_ms: int


@dataclass(frozen=True)
class _Order:
    number: int
    future: "Future[Prediction]"
    on_report: OnReport
    oom_kills: OomKills
    doing: str  # what a death that interrupts it is told with


class ModelProcess:
    """One model family on one device, in a process that is respawned when it dies.

    `family` names a file of `workers/families/` (or `module:class`); `device` is `cpu`, `cuda`,
    `cuda:N`, or several of them with commas between; `threads` are the cores a model on the CPU
    may use (default: half of them); `memory_gb` is what the models may use together (default: by
    the device), `savepoint_s` the time between two savepoints of a batch. The first of the
    checkpoints is loaded at the start, the others on demand; after a death, the one used last.
    Each process has a temporary folder of its own, which is removed when it has ended. `on_lost`
    is called when a model that was loaded before cannot be loaded again.
    Every method may be called from any thread; none imports torch. The process is started at
    once; `wait_ready` tells when its first model is loaded.
    """

    def __init__(
        self,
        family: str,
        device: str,
        checkpoints: Sequence[Checkpoint],
        threads: int | None = None,
        on_lost: Callable[[], None] = lambda: None,
        memory_gb: float = 0.0,
        savepoint_s: float = SAVEPOINT_S,
    ) -> None:
        self.family = family
        self.device = device
        self.revisions = {each.model: each.revision for each in checkpoints}
        self.error: ImagemillError | None = None  # why it cannot be loaded
        self._on_lost = on_lost
        self._load_error: ImagemillError | None = None  # as the process in its last words said
        self._needed = {each.model: in_gb(needed_bytes(each)) for each in checkpoints}
        self._load = Load(
            family,
            renumbered(device),
            checkpoints,
            checkpoints[0].model,
            memory_gb,
            savepoint_s,
        )
        self._environment = environment(device, threads)
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._sender: SampleSender | None = None
        self._held: frozenset[str] = frozenset()
        self._loaded = False  # this process
        self._ready = False  # and it is not about to end
        self._loaded_once = False
        self._failures = 0  # to load, in a row
        self._orders: deque[_Order] = deque()  # not answered; the first is being carried out
        self._thread = threading.Thread(target=self._supervise, name="model-process", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it takes orders."""
        return self._ready

    @property
    def held(self) -> frozenset[str]:
        """The models in memory."""
        return self._held

    @property
    def pid(self) -> int | None:
        """The process id while it takes orders."""
        with self._changed:
            return self._process.pid if self._process and self._ready else None

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until it takes orders, its first model being loaded; False when the time is over.

        Raises why that could not be loaded, while it is being tried again: at the start at
        once. A model that was loaded before can be loaded elsewhere: after RELOADS failures
        this raises StepInterrupted, for the jobs are not to blame.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self.error, timeout_s)
            if self.error:
                raise self.error
            return self._ready

    def submit(self, batch: Batch, on_report: OnReport) -> "Future[Prediction]":
        """Run a batch, after the one that runs now: its samples travel meanwhile, and it begins
        without anybody here being asked. The future may raise ModelProcessDied, OutOfMemory,
        DiskFull or PredictionFailed, or NotBegun. `on_report` is called from another thread,
        which the model process may wait for.

        Its model is loaded first where `hold` did not do so. Raises ModelNotReady, and what
        cannot be pickled.
        """
        self._load = replace(self._load, first=batch.model)
        number, sender = next(self._numbers), self._sender
        if sender is None:
            raise ModelNotReady
        sender.send(number, batch.samples)
        return self._order(Predict(number, replace(batch, samples=())), on_report, sender)

    def hold(self, model: str) -> "Future[Prediction]":
        """Have a model loaded, as `submit` has a batch run, with nothing to predict. The future
        may raise ModelProcessDied, ModelNotAvailable, OutOfMemory with the numbers, or DiskFull.
        Others are unloaded as far as it needs room. Raises ModelNotReady.
        """
        doing = f" while it loaded {model}, which needs about {self._needed.get(model)}"
        order = Hold(next(self._numbers), model)
        return self._order(order, lambda _: None, self._sender, doing)

    def _order(
        self,
        order: Predict | Hold,
        on_report: OnReport,
        sender: SampleSender | None,
        doing: str = "",
    ) -> "Future[Prediction]":
        """Send an order to the process of that sender."""
        with self._changed:
            connection, process = self._connection, self._process
            if not self._ready or not connection or not process or self._sender is not sender:
                raise ModelNotReady
            if len(self._orders) >= ORDERS:
                raise RuntimeError(f"the model process takes {ORDERS} orders at a time")
            future: Future[Prediction] = Future()
            oom_kills = OomKills(process.pid)
            self._orders.append(_Order(order.number, future, on_report, oom_kills, doing))
        self._send(connection, order)
        return future

    def cancel(self, future: "Future[Prediction]") -> None:
        """Let this batch stop at the model's next step; its results are void."""
        self._tell(future, Cancel)

    def withdraw(self, future: "Future[Prediction]") -> None:
        """Let this batch not begin: its future raises NotBegun. One that has begun goes on."""
        self._tell(future, Withdraw)

    def _tell(self, future: "Future[Prediction]", what: type[Cancel | Withdraw]) -> None:
        with self._changed:
            number = next((each.number for each in self._orders if each.future is future), None)
            connection = self._connection
        if number is not None and connection:
            self._send(connection, what(number))

    def kill(self) -> None:
        """End the process at once, whatever it does; it is respawned."""
        with self._changed:
            if self._process and self._process.poll() is None:
                self._process.kill()

    def close(self) -> None:
        """End the process for good. A running batch fails with ModelProcessDied."""
        self._closing.set()
        self.kill()
        self._thread.join()

    def _send(self, connection: Connection, event: Hold | Predict | Cancel | Withdraw) -> None:
        # Where it has died, the supervising thread sees it too and tells the waiter.
        with self._sending, suppress(OSError):
            connection.send(event)

    def _supervise(self) -> None:
        # The child inherits this mask: Ctrl-C and SIGTERM are the worker's business, which ends
        # its model process itself when the running batch is done.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        remove_abandoned()
        while not self._closing.is_set():
            try:
                self._live_once()
            except OSError as error:
                why = f"the model process cannot be started: {error}"
                self._failed_to_load(exhaustion(error) or ModelNotAvailable(why))
            if self._failures:
                self._closing.wait(min(MAX_BACKOFF_S, 2.0 ** (self._failures - 1)))

    def _live_once(self) -> None:
        """One life of the process, from its start to its end. Raises OSError: no process."""
        connection, theirs = Pipe()
        samples, their_samples = Pipe()
        with closing(Scratch()) as scratch, connection, closing(SampleSender(samples)) as sender:
            with self._changed, theirs, their_samples:
                if self._closing.is_set():
                    return
                process = self._start(theirs.fileno(), their_samples.fileno(), scratch)
                self._process, self._connection, self._sender = process, connection, sender
            try:
                connection.send(self._load)
                while True:
                    self._handle(connection.recv(), scratch)
            except (EOFError, OSError):
                pass  # it has ended
            except Exception:
                log.exception("an answer that cannot be read")
            process.kill()  # it has closed the pipe: whatever is left of it is of no use
            self._ended(process.wait())

    def _start(self, fd: int, samples_fd: int, scratch: Scratch) -> "subprocess.Popen[bytes]":
        arguments = [self.family, self.device, str(fd), str(samples_fd), str(os.getpid())]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.model_main", *arguments],
            env={**self._environment, "TMPDIR": str(scratch.folder)},
            pass_fds=[fd, samples_fd],
            stdin=subprocess.DEVNULL,
            stdout=2,  # all that a library prints belongs to the log
        )

    def _handle(self, event: FromModel, scratch: Scratch) -> None:
        if isinstance(event, Held):
            with self._changed:
                self._held = frozenset(event.models)
                self._ready = self._loaded = self._loaded_once = True
                self._failures, self.error = 0, None
                self._changed.notify_all()
            return
        if isinstance(event, LoadFailed):
            self._load_error = event.error
            return
        with self._changed:
            order = next((each for each in self._orders if each.number == event.number), None)
        if order is None:
            log.warning("an answer to no question", answer=event)
        elif isinstance(event, Progress | Preview | Saved):
            order.on_report(event)
        else:
            self._answered(order, event, scratch)

    def _answered(self, order: _Order, event: Done | Failed | Withdrawn, scratch: Scratch) -> None:
        ending = isinstance(event, Failed) and event.ending
        with self._changed:
            self._orders.remove(order)
            self._ready = not ending  # before the batcher tries its samples again
            not_begun: deque[_Order] = deque()
            if ending:
                not_begun, self._orders = self._orders, not_begun
        if isinstance(event, Done):
            order.future.set_result(Prediction(event.results, event.run_ms))
        elif isinstance(event, Withdrawn):
            order.future.set_exception(NotBegun())
        else:
            if isinstance(event.error, DiskFull):
                scratch.empty()
            order.future.set_exception(event.error)
        for each in not_begun:
            each.future.set_exception(NotBegun())

    def _ended(self, status: int) -> None:
        with self._changed:
            orders, loaded = self._orders, self._loaded
            self._orders, self._ready, self._loaded = deque(), False, False
            self._process, self._connection, self._held = None, None, frozenset()
            self._sender = None
            load_error, self._load_error = self._load_error, None
            self._changed.notify_all()
        running = orders.popleft() if orders else None
        doing = running.doing if running else ""
        died: ImagemillError = ModelProcessDied(f"the model process {how_it_ended(status)}{doing}")
        if running and status == -signal.SIGKILL and running.oom_kills.rose():
            died = OutOfMemory(f"the kernel ended the model process for want of memory{doing}")
        if not self._closing.is_set():
            log.error("the model process ended", error=died.message, family=self.family)
        if not loaded:
            self._failed_to_load(load_error or ModelProcessDied(f"{died.message} while loading"))
        if running:
            running.future.set_exception(died)
        for order in orders:
            order.future.set_exception(NotBegun())

    def _failed_to_load(self, error: ImagemillError) -> None:
        if not self._closing.is_set():
            log.error("the model is not loaded", error=error.message, family=self.family)
        with self._changed:
            self._failures += 1
            lost = self._loaded_once and self._failures >= RELOADS
            if not self._loaded_once:
                self.error = error
            elif lost:
                self.error = StepInterrupted(f"the model cannot be loaded again: {error.message}")
            self._changed.notify_all()
        if lost:
            self._on_lost()


def how_it_ended(status: int) -> str:
    """An exit status as `subprocess` gives it, in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"


def environment(device: str, threads: int | None) -> dict[str, str]:
    """The model process's environment: its devices, its cores, where the code is."""
    gpus = [each.partition(":")[2] or "0" for each in device.split(",") if each.startswith("cuda")]
    visible = ",".join(visible_device(index, os.environ) for index in gpus)
    cores = threads or max(1, (os.cpu_count() or 1) // 2)
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": visible,
        "OMP_NUM_THREADS": str(cores),
        "MKL_NUM_THREADS": str(cores),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # a model is loaded from its folder and nowhere else
        **NO_TELEMETRY,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def renumbered(device: str) -> str:
    """The devices as a process knows them that sees no other GPUs."""
    devices = enumerate(device.split(","))
    return ",".join(f"cuda:{n}" if each.startswith("cuda") else each for n, each in devices)


def visible_device(index: str, variables: "os._Environ[str] | dict[str, str]") -> str:
    """The device that `cuda:index` means where CUDA_VISIBLE_DEVICES already limits the worker."""
    allowed = [each for each in variables.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return allowed[int(index)] if int(index) < len(allowed) else index
