"""Helpers of the families' tests: made-up pictures, and a monitor that counts."""

import numpy as np
from PIL import Image

from workers.predictor import Unwatched


class Recorder(Unwatched):
    """A StepMonitor that keeps what it hears, and says stop after `most` steps."""

    def __init__(self, most: int = 10**9) -> None:
        self.steps: list[tuple[int, int, str]] = []
        self.most = most

    def step(self, done: int, total: int, message: str = "", metrics: object = ()) -> bool:
        self.steps.append((done, total, message))
        return len(self.steps) < self.most


def noise(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """A picture of coloured noise, another one for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
