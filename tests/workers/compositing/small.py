"""Blending small enough for tests: a thin network, pictures of noise, and a savepoint's keeper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.workers.families import Recorder, noise
from workers.nets import vgg
from workers.nets.weights import randomise
from workers.predictor import Batch, Metrics

SOURCE, TARGET = 16, 32


def thin_vgg(monkeypatch: pytest.MonkeyPatch) -> vgg.Vgg:
    """A random VGG16 with few channels."""
    monkeypatch.setattr(vgg, "CHANNELS", (4, 6, 8, 8, 8))
    network = vgg.Vgg(16, last=22)
    randomise(network, seed=0)
    network.features[0].weight *= 0.1  # or the style of so few channels would be all that counts
    return network


def sample(seed: int = 1, **more: Any) -> dict[str, Any]:
    mask = Image.new("RGBA", (SOURCE, SOURCE), "black")
    ImageDraw.Draw(mask).ellipse((3, 2, 12, 14), "white")
    return {
        "source": noise(seed, SOURCE, SOURCE).convert("RGBA"),
        "mask": mask,
        "target": noise(seed + 100, TARGET, TARGET),
        "x": 12 + seed % 5,
        "y": 15,
        "seed": seed,
        **more,
    }


def batch(*samples: dict[str, Any], size: int = 2, **params: Any) -> Batch:
    settings = {"variant": "mended", "source_size": SOURCE, "target_size": TARGET}
    settings |= {"steps": 25, "video": False, "precision": "fp32", **params}
    return Batch("m", settings, size, samples)


class Listener(Recorder):
    """Keeps the metrics of every step too."""

    def __init__(self, most: int = 10**9) -> None:
        super().__init__(most)
        self.metrics: list[Sequence[Metrics]] = []

    def step(
        self, done: int, total: int, message: str = "", metrics: Sequence[Metrics] = ()
    ) -> bool:
        self.metrics.append(metrics)
        return super().step(done, total, message)


class Keeper(Recorder):
    """Keeps the savepoints of the sample at a place, which are always due.

    `savepoints` holds the names of each one's files, `files` what is in them.
    """

    def __init__(self, most: int = 10**9, place: int = 0) -> None:
        super().__init__(most)
        self.place = place
        self.files: dict[str, bytes] = {}
        self.savepoints: list[list[str]] = []

    def savepoint_due(self) -> bool:
        return True

    def save(self, place: int, files: Sequence[Path]) -> None:
        if place == self.place:
            for path in files:
                content = path.read_bytes()
                assert self.files.setdefault(path.name, content) == content  # it never changes
            self.savepoints.append([path.name for path in files])

    def restore(self, folder: Path, number: int = -1) -> Path:
        """A savepoint's files, and no others, in a folder."""
        folder.mkdir()
        for name in self.savepoints[number]:
            (folder / name).write_bytes(self.files[name])
        return folder
