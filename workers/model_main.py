"""The model process: `python -m workers.model_main FAMILY DEVICE FD SAMPLES_FD PARENT`.

It holds one family's models on one device, loads them on demand, and runs one batch at a time.
It knows nothing of queues, storage or jobs. `ModelProcess` starts it, with CUDA_VISIBLE_DEVICES
in its environment; `FAMILY` and `DEVICE` are there to be read in a list of processes.
"""

import ctypes
import io
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from shared import logs
from shared.errors import ImagemillError, ModelNotAvailable, OutOfMemory, PredictionFailed
from workers.held_models import HeldModels, budget_bytes, free_memory
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
    Saved,
    Withdraw,
    Withdrawn,
)
from workers.predictor import Metrics, Predictor, Result, load_predictor
from workers.resources import exhaustion, prefer_as_victim
from workers.sample_pipe import SampleReceiver

log = logs.get(__name__)

PROGRESS_S = 0.05  # between two reports; a language model's steps take less
PREVIEW_S = 3.0
PREVIEW_QUALITY = 85  # of a JPEG, to 95
PR_SET_PDEATHSIG = 1


class BatchMonitor:
    """Reports what comes of the running batch, and learns of its cancellation."""

    def __init__(self, main: "ModelMain", number: int, savepoint_s: float) -> None:
        self._main = main
        self._number = number
        self._savepoint_s = savepoint_s
        self._reported = 0.0
        self._shown = self._saved = time.monotonic()

    def step(
        self, done: int, total: int, message: str = "", metrics: Sequence[Metrics] = ()
    ) -> bool:
        now = time.monotonic()
        if now - self._reported >= PROGRESS_S or done == total:
            self._reported = now
            self._main.send(Progress(self._number, done, total, message, metrics))
        return self._number not in self._main.canceled

    def preview_due(self) -> bool:
        return time.monotonic() - self._shown >= PREVIEW_S

    def preview(self, pictures: Sequence[Image.Image]) -> None:
        self._shown = time.monotonic()
        self._main.send(Preview(self._number, [jpeg(picture) for picture in pictures]))

    def savepoint_due(self) -> bool:
        return time.monotonic() - self._saved >= self._savepoint_s

    def save(self, place: int, files: Sequence[Path]) -> None:
        self._saved = time.monotonic()
        self._main.send(Saved(self._number, place, files))


class Orders:
    """What is to be done, one after the other; what has not begun may be withdrawn."""

    def __init__(self) -> None:
        self._waiting: deque[Hold | Predict] = deque()
        self._changed = threading.Condition()

    def put(self, order: Hold | Predict) -> None:
        with self._changed:
            self._waiting.append(order)
            self._changed.notify()

    def get(self) -> Hold | Predict:
        """Begin the next one, once it is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            return self._waiting.popleft()

    def withdraw(self, number: int) -> bool:
        """False where it has begun."""
        with self._changed:
            kept = [order for order in self._waiting if order.number != number]
            found = len(kept) < len(self._waiting)
            self._waiting = deque(kept)
            return found


class ModelMain:
    """The process's main loop, and a thread that listens while a batch runs."""

    def __init__(self, connection: Connection, samples: Connection) -> None:
        """The pipes for orders and answers, and for samples."""
        self.canceled: set[int] = set()
        self._connection = connection
        self._samples = SampleReceiver(samples, partial(os._exit, 0))
        self._orders = Orders()
        self._sending = threading.Lock()

    def run(self) -> None:
        load: Load = self._connection.recv()
        self._savepoint_s = load.savepoint_s
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        try:
            predictor = load_predictor(load.family, load.device)
            budget = budget_bytes(predictor.device, load.memory_gb)
            models = HeldModels(
                predictor, load.checkpoints, budget, lambda held: self.send(Held(held))
            )
            models.hold(load.first)
        except Exception as error:
            log.exception("cannot load", model=load.first)
            self.send(LoadFailed(load_error(error)))
            return
        while True:
            self._serve(predictor, models, self._complete(self._orders.get()))

    def send(self, event: FromModel) -> None:
        with self._sending:
            self._connection.send(event)

    def _complete(self, order: Hold | Predict) -> Hold | Predict:
        if isinstance(order, Hold):
            return order
        return replace(order, batch=replace(order.batch, samples=self._samples.take(order.number)))

    def _serve(self, predictor: Predictor, models: HeldModels, order: Hold | Predict) -> None:
        failure = self._attempt(predictor, models, order)
        if (
            out_of_memory(failure)
            and recovered(predictor.device)
            and order.model in models
            and models.keep_only(order.model)
        ):  # without the others there may be room enough
            failure = self._attempt(predictor, models, order)
        lost = out_of_memory(failure) and not recovered(predictor.device)
        if failure:
            self.send(Failed(order.number, failure, ending=lost))
        if lost:
            log.error("the device is lost", device=predictor.device)
            os._exit(1)
        self.canceled = {number for number in self.canceled if number > order.number}

    def _attempt(
        self, predictor: Predictor, models: HeldModels, order: Hold | Predict
    ) -> ImagemillError | None:
        """Carry an order out and answer it; or why that is not possible."""
        started = time.monotonic()
        results: Sequence[Result] = ()
        told = load_error
        try:
            models.hold(order.model)
            told = prediction_error
            if isinstance(order, Predict):
                monitor = BatchMonitor(self, order.number, self._savepoint_s)
                results = predictor.predict(order.batch, monitor)
        except Exception as error:
            log.exception("an order failed", model=order.model)
            failure = told(error)
            if "CUDA error" in str(error) and not out_of_memory(failure):
                # The device's context is lost for good; a new process gets a new one.
                os._exit(1)
            # With its frames an exception keeps the tensors that they held.
            return failure.with_traceback(None)
        self.send(Done(order.number, results, round((time.monotonic() - started) * 1000)))
        return None

    def _listen(self) -> None:
        try:
            while True:
                order = self._connection.recv()
                if isinstance(order, Cancel):
                    self.canceled.add(order.number)
                elif isinstance(order, Withdraw):
                    if self._orders.withdraw(order.number):
                        self.send(Withdrawn(order.number))
                else:
                    self._orders.put(order)
        except (EOFError, OSError):
            pass  # the worker is gone
        finally:
            os._exit(0)  # even in the middle of a batch


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return buffer.getvalue()


def prediction_error(error: Exception) -> ImagemillError:
    """What the worker is told when a batch raises."""
    if isinstance(error, ImagemillError):
        return error
    text = str(error).strip() or type(error).__name__
    return exhaustion(error) or PredictionFailed(f"{type(error).__name__}: {text}")


def load_error(error: Exception) -> ImagemillError:
    """What the worker is told when a model cannot be loaded."""
    known = prediction_error(error)
    return ModelNotAvailable(known.message) if isinstance(known, PredictionFailed) else known


def out_of_memory(failure: ImagemillError | None) -> bool:
    return isinstance(failure, OutOfMemory)


def recovered(device: str) -> bool:
    """Free what an out-of-memory left behind; whether the device can be used after it."""
    torch = sys.modules.get("torch")
    try:
        free_memory()
        if torch is None:
            return True
        torch.ones(256, device=device).sum().item()  # waits for the device
    except Exception:
        log.exception("the device does not answer")
        return False
    return True


def end_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        sys.exit(1)


def main() -> None:
    fd, samples_fd, parent = (int(argument) for argument in sys.argv[3:6])
    end_with(parent)
    prefer_as_victim()
    logs.configure()
    ModelMain(Connection(fd), Connection(samples_fd)).run()


if __name__ == "__main__":
    main()
