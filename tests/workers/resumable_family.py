"""A model family without a model that keeps savepoints: numbers that depend on all before them."""

import time
import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from PIL import Image

from shared.errors import ImagemillError
from workers.predictor import Batch, Checkpoint, Predictor, Result, StepMonitor


class Counter(Predictor):
    """Hashes a sample's text over and over, `steps` times; all the hashes together are its text.

    Each savepoint writes the hashes since the last one into a part, and a head. Its params:
    `seconds` of a step; `most` samples of a batch for which there is memory; a file `began`, in
    which each run leaves a line with the step at which it begins; `held_after` so many steps a run
    gets no further, though it goes on to tell and to save, before there is a file `go_on`.
    """

    def load(self, checkpoint: Checkpoint) -> None:
        pass

    def unload(self, model: str) -> None:
        pass

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        runs = [Run(sample) for sample in batch.samples]
        with Path(batch.params["began"]).open("a") as file:
            file.write("".join(f"{len(run.hashes)}\n" for run in runs))
        steps, step = batch.params["steps"], len(runs[0].hashes)
        hold = step + batch.params.get("held_after", steps)
        while step < steps:
            if step < hold or Path(batch.params["go_on"]).exists():
                for run in runs:
                    run.advance()
                step += 1
            metrics = [{"hashes": len(run.hashes), "place": i} for i, run in enumerate(runs)]
            if not monitor.step(step, steps, f"hash {step}", metrics):
                return []
            if step == steps // 2:
                monitor.preview(
                    [Image.new("RGB", (8, 8), (0, 0, 40 * i)) for i in range(len(runs))]
                )
            if monitor.savepoint_due():
                for place, run in enumerate(runs):
                    monitor.save(place, run.save())
                if batch.size > batch.params.get("most", batch.size):
                    raise MemoryError("the barrel is full")
            time.sleep(batch.params.get("seconds", 0.0))
        return [{"text": "\n".join(run.hashes)} for run in runs]


class Run:
    """A sample's hashes so far, and the files that hold them."""

    def __init__(self, sample: Mapping[str, Any]) -> None:
        self.text = sample["text"]
        self.hashes: list[str] = []
        self.files: list[Path] = []
        self.name = uuid.uuid4().hex[:8]
        self.folder = Path(mkdtemp())
        if saved := sample.get("savepoint"):
            self._resume(saved)

    def _resume(self, folder: Path) -> None:
        parts = sorted(folder.glob("part-*"))
        [head] = folder.glob("head-*")
        if [part.name for part in parts] != head.read_text().split():
            raise ImagemillError(f"{folder} is no savepoint")
        self.name = head.name.split("-")[1]
        self.hashes = [each for part in parts for each in part.read_text().split()]
        self.files = parts

    def advance(self) -> None:
        before = self.hashes[-1] if self.hashes else self.text
        self.hashes.append(sha256(before.encode()).hexdigest())

    def save(self) -> list[Path]:
        done = sum(int(file.name.split("-")[3]) for file in self.files)
        for file in self.files:  # they are kept
            if file.parent == self.folder:
                file.unlink(missing_ok=True)
        if fresh := self.hashes[done:]:
            part = self.folder / f"part-{self.name}-{done:06}-{len(fresh)}"
            part.write_text("\n".join(fresh))
            self.files = [*self.files, part]
        head = self.folder / f"head-{self.name}-{len(self.hashes):06}"
        head.write_text(" ".join(file.name for file in self.files))
        return [*self.files, head]


def undisturbed(text: str, steps: int) -> str:
    """What comes of a text."""
    run = Run({"text": text})
    for _ in range(steps):
        run.advance()
    return "\n".join(run.hashes)
