"""Model families that take the time they are told and fail as they are told; no weights.

A text or prompt `do: …` is an instruction; any other one is work like a model's:

do: sleep 3        three seconds in small steps, with progress
do: wait FILE      the same until there is such a file
do: hang 30        as long as that, but deaf and dumb
do: segfault       and other ways to end the process: kill, exit
do: oom            never enough memory
do: oom in company too little memory for a batch of more than one
do: write 20       20 MB of temporary files, left behind

While the file exists that IMAGEMILL_VANISHED names, it cannot be loaded.
"""

import hashlib
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor

STEP_S = 0.01  # of a family's work; a picture takes `steps` of them


class Scripted(Predictor):
    """Captioner, translator and diffuser at once: what a family does not need is left out."""

    def load(self, checkpoint: Checkpoint) -> None:
        if Path(os.environ.get("IMAGEMILL_VANISHED", "none")).exists():
            raise OSError("the device is gone")

    def unload(self, model: str) -> None:
        pass

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        steps, awaited = batch.params.get("steps", 4), Path("/")
        for text in map(said, batch.samples):
            order, _, value = text.removeprefix("do: ").partition(" ")
            if not text.startswith("do: "):
                continue
            if order == "sleep":
                steps = max(steps, round(float(value) / STEP_S))
            elif order == "wait":
                awaited = Path(value)
            else:
                self._obey(order, value, batch)
        begun_at, step = time.monotonic(), 0
        while step < steps or not awaited.exists():
            if not monitor.step(min(step, steps - 1), steps, f"step {step} of {steps}"):
                return []
            time.sleep(STEP_S)
            # By the clock: on a busy machine 500 sleeps take longer than 5 s, and what a worker
            # expects of them is tested.
            step = int((time.monotonic() - begun_at) / STEP_S)
        return [{"text": answer(s), "prompt": said(s), "image": draw(s)} for s in batch.samples]

    def _obey(self, order: str, value: str, batch: Batch) -> None:
        if order == "hang":
            time.sleep(float(value))
        elif order == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif order == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == "exit":
            os._exit(3)
        elif order == "oom" and (value != "in company" or batch.size > 1):
            raise MemoryError("can't allocate memory: you asked for too much")
        elif order == "write":
            write_temporary_files(int(value))


def write_temporary_files(megabytes: int) -> None:
    """Raises OSError where the disk is full; what was written stays."""
    for _ in range(megabytes):
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(bytes(1_000_000))


def said(sample: Any) -> str:
    """The text that stands for this sample."""
    return str(sample.get("text") or sample.get("prompt") or "")


def answer(sample: Any) -> str:
    digest = hashlib.sha256(said(sample).encode()).hexdigest()[:8]
    return f"a picture called {digest}"


def draw(sample: Any) -> Image.Image:
    """Noise that depends on prompt and seed alone, so that equal requests give equal bytes."""
    noise = random.Random(f"{said(sample)} {sample.get('seed')}")
    return Image.frombytes("RGB", (32, 32), noise.randbytes(32 * 32 * 3))
