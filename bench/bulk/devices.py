"""Models of known cost, and the note of when a model is at work."""

import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from workers.predictor import (
    Batch,
    Checkpoint,
    Predictor,
    Result,
    StepMonitor,
    load_predictor,
)

PREDICTOR = "BULK_PREDICTOR"  # what `Timed` runs: a family, or `module:class`
SPANS = "BULK_SPANS"  # the file in which it notes when
BATCH_S = 0.4


class Device(Predictor):
    """Takes the same time for every batch, and leaves the processors alone meanwhile.

    What it says of a picture depends on every pixel.
    """

    cost_s = BATCH_S

    def load(self, checkpoint: Checkpoint) -> None:
        pass

    def unload(self, model: str) -> None:
        pass

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        time.sleep(self.cost_s)
        return [{"text": said(sample.get("image") or sample["text"])} for sample in batch.samples]


class Free(Device):
    """Takes no time."""

    cost_s = 0.0


def said(value: Any) -> str:
    data = value.tobytes() if isinstance(value, Image.Image) else value.encode()
    return f"{zlib.crc32(data):08x}"


class Timed(Predictor):
    """Another predictor, with a note of each of its batches."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._timed = load_predictor(os.environ[PREDICTOR], device)
        self._spans = Path(os.environ[SPANS])

    def load(self, checkpoint: Checkpoint) -> None:
        self._timed.load(checkpoint)

    def unload(self, model: str) -> None:
        self._timed.unload(model)

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        began = time.monotonic()
        results = self._timed.predict(batch, monitor)
        with self._spans.open("a") as file:
            print(began, time.monotonic(), file=file)
        return results


def busy_s(spans: Path, since: float, until: float) -> float:
    """How long a timed model was at work between two moments (time.monotonic())."""
    lines = spans.read_text().splitlines() if spans.exists() else []
    noted = (map(float, line.split()) for line in lines)
    return sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in noted)
