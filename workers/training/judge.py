"""The judge: reads a scene back from a picture by plain pixel statistics, without a network.

Background: the palette colour nearest to the border's median. Foreground: the pixels far from
it, less specks. Colour: the palette colour nearest to the foreground's median. Shape: how much of
its box it fills, and how much more its lower quarter holds than its upper quarter.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from workers.training.world import BACKGROUNDS, COLOURS, PALETTE

WORK_SIZE = 64
"""Side in pixels to which every picture is reduced first: thresholds hold at one scale."""

_FAR = 0.5
"""A pixel is foreground when nearer to the shape's colour than to the background's."""

_LEAST_AREA = 12
"""Fewer foreground pixels (of 64 x 64) than this are nothing."""


@dataclass(frozen=True)
class Verdict:
    """What the judge saw; box is (left, top, right, bottom) as fractions of width and height."""

    shape: str
    colour: str
    size: str
    background: str
    box: tuple[float, float, float, float]

    @property
    def words(self) -> tuple[str, str, str, str]:
        """(shape, colour, size, background), as in `Scene.words`."""
        return (self.shape, self.colour, self.size, self.background)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box, fractions of width and height."""
        left, top, right, bottom = self.box
        return ((left + right) / 2, (top + bottom) / 2)


def judge(picture: Image.Image) -> Verdict | None:
    """Read the scene in a picture of any size, or None where nothing stands out."""
    small = picture.convert("RGB").resize((WORK_SIZE, WORK_SIZE), Image.Resampling.BOX)
    # A median keeps edges where they are and takes single noisy pixels away.
    pixels = np.asarray(small.filter(ImageFilter.MedianFilter(3)), np.float32)
    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3)])
    border = np.concatenate([border, pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)])
    ground = np.median(border, axis=0)
    background = _nearest(ground, BACKGROUNDS)
    distance = np.linalg.norm(pixels - ground, axis=2)
    core = distance > max(45.0, 0.7 * float(np.quantile(distance, 0.99)))
    if core.sum() < _LEAST_AREA:
        return None
    tone = np.median(pixels[core], axis=0)
    colour = _nearest(tone, tuple(name for name in COLOURS if name != background))
    # Halfway along the line from background to shape colour is where the edge lies.
    line = tone - ground
    mask = _largest_part((pixels - ground) @ line / float(line @ line) > _FAR)
    if mask.sum() < _LEAST_AREA:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inside = mask[top:bottom, left:right]
    size = "large" if max(inside.shape) / WORK_SIZE > 0.44 else "small"
    left, top, right, bottom = (float(edge) / WORK_SIZE for edge in (left, top, right, bottom))
    return Verdict(_shape(inside), colour, size, background, (left, top, right, bottom))


def overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), 0 to 1."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return width * height / max(sum(areas) - width * height, 1e-9)


def _nearest(colour: np.ndarray, names: tuple[str, ...]) -> str:
    """Name whose palette colour is nearest to an RGB value."""
    table = np.array([PALETTE[name] for name in names], np.float32)
    return names[int(np.linalg.norm(table - colour, axis=1).argmin())]


def _shape(inside: np.ndarray) -> str:
    """Shape of a boolean mask cut to its box.

    The lower quarter of a triangle is full and the upper one empty. Circle and square differ in
    their corners: E[x^2 y^2] / (E[x^2] E[y^2]) is 1 for any rectangle and 2/3 for any ellipse, and
    unlike the box itself does not hang on a few pixels at the edge.
    """
    quarter = max(1, inside.shape[0] // 4)
    if float(inside[-quarter:].mean() - inside[:quarter].mean()) > 0.3:
        return "triangle"
    rows, columns = np.nonzero(inside)
    down, across = (rows - rows.mean()) ** 2, (columns - columns.mean()) ** 2
    corners = float((down * across).mean() / max(down.mean() * across.mean(), 1e-9))
    return "square" if corners > 0.81 else "circle"


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """Largest 4-connected part of a boolean mask, found by spreading the largest label."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        spread = np.maximum.reduce(
            [labels, padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        )
        spread = np.where(mask, spread, 0)
        if (spread == labels).all():
            break
        labels = spread
    if not mask.any():
        return mask
    return labels == np.bincount(labels[mask]).argmax()
