"""One stage of training on somebody's pictures: what it shows, saves and leaves while it runs."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from shared.errors import PredictionFailed
from workers.nets.panorama import checkpoint
from workers.predictor import StepMonitor
from workers.training.panorama import curves, savepoint
from workers.training.panorama.evaluate import fills, generated, measured, sheet
from workers.training.panorama.pictures import Pictures
from workers.training.panorama.trainer import DISCRIMINATOR_EVERY, Report, State, Trainer

SHEETS = 8  # sample sheets of a whole training
SHEET, SHEETS_OF_A_RUN = "samples-{:03}.png", "samples-*.png"
PREVIEW_ROWS = 2
SAVING_SHARE = 0.05  # of the time, at most: a large state is saved less often


class Some:
    """Some of the pictures, by their numbers."""

    def __init__(self, pictures: Pictures, numbers: np.ndarray) -> None:
        self.size = pictures.size
        self._pictures = pictures
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def crop(self, index: int, rng: np.random.Generator | None = None) -> np.ndarray:
        return self._pictures.crop(int(self._numbers[index]), rng)


def split(pictures: Pictures, held_out: int, seed: int) -> tuple[Some, Some]:
    """Pictures to train on, and so many others to look at, chosen by chance."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    return Some(pictures, np.sort(order[held_out:])), Some(pictures, np.sort(order[:held_out]))


class Run:
    """A training with what it has told so far; its files are made in a folder of its own."""

    def __init__(self, training: Trainer, shown: Pictures, folder: Path) -> None:
        self.training = training
        self.rows: list[dict[str, float]] = []
        self.stopped: str | None = None  # why it has stopped before its end
        self._shown = shown
        self._folder = folder
        self._saved_at, self._saving_s = time.monotonic(), 0.0

    def restore(self, state: State, saved: Path) -> None:
        """Go on from a savepoint. Raises InvalidRequest where it is of another training."""
        self.training.restore(state)
        self.rows = state["rows"]
        for path in saved.glob(SHEETS_OF_A_RUN):
            shutil.copy(path, self._new(path.name))

    def go(self, monitor: StepMonitor, extra: State) -> bool:
        """Train to the end, or until a loss is no number; False where nobody wants it any more.

        `extra` is what a savepoint holds beside the training's own state.
        """
        stage, batches = self.training.stage, self.training.samples.batches
        total = stage.epochs * batches
        latest: dict[str, float] = {}
        reports = self.training.run()
        try:
            for report in reports:
                done = self._take(report)
                latest |= report.losses
                place = {"epoch": report.epoch + 1, "images_per_s": report.images_per_s}
                message = f"{stage.name}: epoch {report.epoch + 1} of {stage.epochs}"
                if not monitor.step(done, total, message, [{**place, **latest}]):
                    return False
                if done * SHEETS // total > (done - 1) * SHEETS // total:
                    self._draw().save(self._new(SHEET.format(done * SHEETS // total)))
                if monitor.preview_due():
                    monitor.preview([self._draw(PREVIEW_ROWS)])
                if self._savepoint_due(monitor):
                    self._save(monitor, done, extra)
        except PredictionFailed as error:
            self.stopped = error.message
        finally:
            reports.close()  # type: ignore[attr-defined]
        return True

    def files(self) -> list[Path]:
        """Write what the training leaves: both networks, the losses, the sample sheets."""
        checkpoint.save(self.training.generator, self._folder)
        beside = self._folder / "discriminator"
        checkpoint.save(self.training.discriminator, beside)
        (beside / checkpoint.WEIGHTS).rename(self._folder / "discriminator.safetensors")
        (self._folder / "losses.csv").write_bytes(curves.table(self.rows))
        (self._folder / "losses.svg").write_bytes(curves.plot(self.rows))
        names = ("config.json", checkpoint.WEIGHTS, "discriminator.safetensors")
        tables = ("losses.csv", "losses.svg")
        sheets = sorted(self._folder.glob(SHEETS_OF_A_RUN))
        return [*(self._folder / name for name in (*names, *tables)), *sheets]

    def about(self) -> dict[str, Any]:
        """The training in numbers."""
        last: dict[str, float] = {}
        for row in self.rows[-DISCRIMINATOR_EVERY:]:  # of both networks
            last |= {name: value for name, value in row.items() if name not in curves.PLACE}
        return {
            "stage": asdict(self.training.stage),
            "batches": len(self.rows),
            "losses": last,
            "evaluation": measured(self._shown, fills(self._fill)),
        }

    def _new(self, name: str) -> Path:
        """Where a file is to be made. One that a run before this one left may be the very file
        of a savepoint: it is not written over."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        return path

    def _take(self, report: Report) -> int:
        """Note a batch; how many there were so far."""
        place = {"epoch": report.epoch, "batch": report.batch, "rate": report.rate}
        self.rows.append({**place, **report.losses})
        return len(self.rows)

    def _savepoint_due(self, monitor: StepMonitor) -> bool:
        passed = time.monotonic() - self._saved_at
        return monitor.savepoint_due() and passed * SAVING_SHARE >= self._saving_s

    def _save(self, monitor: StepMonitor, done: int, extra: State) -> None:
        began = time.monotonic()
        state = {**self.training.state(), "rows": self.rows, **extra}
        parts = savepoint.write(state, self._folder, done)
        monitor.save(0, [*parts, *self._folder.glob(SHEETS_OF_A_RUN)])
        self._saved_at = time.monotonic()
        self._saving_s = self._saved_at - began

    def _draw(self, rows: int = 4) -> Image.Image:
        """A sheet of what the generator makes of pictures that it is not trained on."""
        return sheet(self._shown, {"generator": self._fill}, rows)

    def _fill(self, left: Tensor, right: Tensor) -> Tensor:
        device = self.training.device
        return generated(self.training.generator, left.to(device), right.to(device)).cpu()
