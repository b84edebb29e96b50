"""A model family without a model, told by each sample what to do."""

import errno
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from shared.errors import InvalidImage
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor


class Fake(Predictor):
    """Answers with the batch that it saw; a sample's `do` names what happens to it."""

    def load(self, checkpoint: Checkpoint) -> None:
        if checkpoint.path.name == "broken":
            raise ValueError("no such layer: left_knee")
        if (checkpoint.path / "away").exists():
            raise ValueError("away")
        if checkpoint.path.name == "deadly":
            os.kill(os.getpid(), signal.SIGABRT)

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        for sample in batch.samples:
            self._obey(sample, batch)
        steps = batch.params.get("steps", 1)
        for step in range(steps):
            if not monitor.step(step, steps, f"step {step} of {steps}"):
                Path(batch.params["stopped"]).write_text(str(step))
                return []
            time.sleep(batch.params.get("seconds", 0))
        monitor.step(steps, steps, "done")
        texts = [sample.get("text", "") for sample in batch.samples]
        return [
            {
                "text": sample.get("text") or described(sample.get("image")),
                "prompt": sample.get("prompt"),
                "image": Image.new("RGB", (8, 8), (sample.get("seed", 0), 0, 0)),
                "company": texts,
                "computed": len(batch.padded),
                "at": time.monotonic(),
                "pid": os.getpid(),
                "device": (self.device, os.environ["CUDA_VISIBLE_DEVICES"]),
                "folder": tempfile.gettempdir(),
            }
            for sample in batch.samples
        ]

    def _obey(self, sample: Any, batch: Batch) -> None:
        said = sample.get("text") or sample.get("prompt") or ""
        do = sample.get("do") or said.partition("do: ")[2]
        if do == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "die once" and not Path(sample["file"]).exists():
            Path(sample["file"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if do == "exit":
            os._exit(3)
        if do == "raise":
            raise ValueError("too green")
        if do == "refuse":
            raise InvalidImage("not a picture")
        if do == "fill memory":
            raise MemoryError("the barrel is full")
        if do == "fill memory in company" and len(batch.padded) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        if do == "lose the device":
            # What is left of torch once the device's context is lost: nothing that works.
            sys.modules["torch"] = SimpleNamespace()  # type: ignore[assignment]
            raise RuntimeError("CUDA error: out of memory")
        if do == "run out and stumble":
            try:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            finally:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if do == "stumble":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if do == "eat":
            eaten = [os.urandom(2**20) for _ in range(sample["mb"])]
            del eaten
        if do == "fill the disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if do == "write":
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(b"x" * sample["bytes"])
        if do == "hang":
            time.sleep(600)


def described(image: Image.Image | None) -> str:
    return f"{image.mode} {image.width}x{image.height}" if image else ""
