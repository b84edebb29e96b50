"""A model family without a model, told by each sample what to do."""

import ctypes
import errno
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from shared.errors import InvalidImage, PredictionFailed
from workers.predictor import Batch, Checkpoint, Predictor, Result, StepMonitor


class Fake(Predictor):
    """Answers with the batch that it saw; a sample's `do` names what happens to it, after it has
    passed its `gate`.

    A checkpoint's settings: a `gate` that loading must pass, `seconds` that it takes, and a `file`:
    as long as that is not there, it is made and loading ends the process.
    """

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.models: set[str] = set()
        self.loads: list[str] = []

    def load(self, checkpoint: Checkpoint) -> None:
        self.loads.append(checkpoint.model)
        if gate := checkpoint.settings.get("gate"):
            gate.pass_through()
        time.sleep(checkpoint.settings.get("seconds", 0))
        file = Path(checkpoint.settings.get("file", "/"))
        if not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if checkpoint.path.name == "broken":
            raise ValueError("no such layer: left_knee")
        if (checkpoint.path / "away").exists():
            raise ValueError("away")
        if checkpoint.path.name == "deadly":
            os.kill(os.getpid(), signal.SIGABRT)
        self.models.add(checkpoint.model)

    def unload(self, model: str) -> None:
        self.models.remove(model)

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
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
            PredictionFailed("not this one")
            if sample.get("do") == "fail in place"
            else {
                "text": sample.get("text") or described(sample.get("image")),
                "prompt": sample.get("prompt"),
                "image": Image.new("RGB", (8, 8), (sample.get("seed", 0), 0, 0)),
                "company": texts,
                "computed": len(batch.padded),
                "at": time.monotonic(),
                "pid": os.getpid(),
                "device": (self.device, os.environ["CUDA_VISIBLE_DEVICES"]),
                "folder": tempfile.gettempdir(),
                "loads": self.loads,
                "networks": {
                    name: described(value)
                    for name, value in sample.items()
                    if isinstance(value, Image.Image)
                },
                "files": {"losses.csv": b"1,2"},
                **(trained(sample, batch) if "pictures" in sample else {}),
            }
            for sample in batch.samples
        ]

    def _obey(self, sample: Any, batch: Batch) -> None:
        if gate := sample.get("gate"):
            gate.pass_through()
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
        if do == "fill memory beside others" and len(self.models) > 1:
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
        if do == "be deaf":
            ctypes.PyDLL(None).sleep(60)  # with the interpreter's lock


class Arrival:
    """In a sample: makes a file as soon as that is in the model process."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def trained(sample: Mapping[str, Any], batch: Batch) -> dict[str, Any]:
    """What a training gives."""
    file: Path = sample["folder"] / "config.json"
    file.write_bytes(b"{}")
    about = {"pictures": len(list(sample["pictures"].iterdir()))}
    return {"files": [file], "about": about, "stopped": batch.params.get("diverged")}


def described(image: Image.Image | None) -> str:
    return f"{image.mode} {image.width}x{image.height}" if image else ""
