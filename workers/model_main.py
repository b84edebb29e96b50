"""The model process: `python -m workers.model_main FAMILY DEVICE FD PARENT`.

It loads one family's models onto one device and runs one batch at a time. It knows nothing of
queues, storage or jobs. `ModelProcess` starts it, with CUDA_VISIBLE_DEVICES in its environment;
`FAMILY` and `DEVICE` are there to be read in a list of processes.
"""

import ctypes
import gc
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from shared import logs
from shared.errors import ImagemillError, ModelNotAvailable, OutOfMemory, PredictionFailed
from workers.model_events import (
    Cancel,
    Done,
    Failed,
    FromModel,
    Load,
    Loaded,
    LoadFailed,
    Predict,
    Progress,
)
from workers.predictor import Predictor, load_predictor
from workers.resources import exhaustion, prefer_as_victim

log = logs.get(__name__)

PROGRESS_S = 0.05  # between two reports; a language model's steps take less
PR_SET_PDEATHSIG = 1


class BatchMonitor:
    """Reports the running batch's steps and learns of its cancellation."""

    def __init__(self, main: "ModelMain", number: int) -> None:
        self._main = main
        self._number = number
        self._reported = 0.0

    def step(self, done: int, total: int, message: str = "") -> bool:
        now = time.monotonic()
        if now - self._reported >= PROGRESS_S or done == total:
            self._reported = now
            self._main.send(Progress(self._number, done, total, message))
        return self._number not in self._main.canceled


class ModelMain:
    """The process's main loop, and a thread that listens while a batch runs."""

    def __init__(self, connection: "Connection") -> None:
        self.canceled: set[int] = set()
        self._connection = connection
        self._orders: queue.SimpleQueue[Predict] = queue.SimpleQueue()

    def run(self) -> None:
        load: Load = self._connection.recv()
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        try:
            predictor = load_predictor(load.family, load.device)
            for checkpoint in load.checkpoints:
                predictor.load(checkpoint)
        except Exception as error:
            log.exception("cannot load", models=[each.model for each in load.checkpoints])
            self.send(LoadFailed(load_error(error)))
            return
        self.send(Loaded())
        while True:
            self._predict(predictor, self._orders.get())

    def send(self, event: FromModel) -> None:
        self._connection.send(event)

    def _predict(self, predictor: Predictor, order: Predict) -> None:
        started = time.monotonic()
        try:
            results = predictor.predict(order.batch, BatchMonitor(self, order.number))
        except Exception as error:
            log.exception("a batch failed", model=order.batch.model)
            failure = prediction_error(error)
            if "CUDA error" in str(error) and not isinstance(failure, OutOfMemory):
                # The device's context is lost for good; a new process gets a new one.
                os._exit(1)
        else:
            self.send(Done(order.number, results, round((time.monotonic() - started) * 1000)))
            self.canceled.clear()
            return
        # By now the exception is gone, and with it the tensors that its frames held.
        lost = isinstance(failure, OutOfMemory) and not recovered(predictor.device)
        self.send(Failed(order.number, failure, ending=lost))
        if lost:
            log.error("the device is lost", device=predictor.device)
            os._exit(1)
        self.canceled.clear()

    def _listen(self) -> None:
        try:
            while True:
                order = self._connection.recv()
                if isinstance(order, Cancel):
                    self.canceled.add(order.number)
                else:
                    self._orders.put(order)
        except (EOFError, OSError):
            pass  # the worker is gone
        finally:
            os._exit(0)  # even in the middle of a batch


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


def recovered(device: str) -> bool:
    """Free what an out-of-memory left behind; whether the device can be used after it.

    The family has imported torch, if it uses it.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return True
    try:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
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
    fd, parent = (int(argument) for argument in sys.argv[3:5])
    end_with(parent)
    prefer_as_victim()
    logs.configure()
    ModelMain(Connection(fd)).run()


if __name__ == "__main__":
    main()
