"""Which part of a picture the network sees, and how its middle is put between two pictures."""

from typing import Literal

import numpy as np
from PIL import Image
from scipy.fft import dct, idct

from shared.kinds.panorama import width_at

Side = Literal["left", "right"]  # of the panorama

REDUCING_GAP = 3.0  # nothing is seen of a shrinking in two steps from here on (Pillow's manual)
LEVEL = 1e-9  # the slope of what is level, nearly: formulas divide by it


def square(picture: Image.Image, side: Side, size: int, full_height: bool) -> Image.Image:
    """What the network sees of a picture, size×size: the largest square next to the middle.

    Of a picture higher than wide that is the square in its centre; with `full_height` all of it,
    squeezed, so that there is something of the middle for every row.
    """
    width = min(picture.size)
    height = picture.height if full_height else width
    start = picture.width - width if side == "left" else 0
    top = (picture.height - height) // 2
    box = (start, top, start + width, top + height)
    return picture.resize((size, size), Image.Resampling.BICUBIC, box, REDUCING_GAP)


def middle_of(drawn: np.ndarray, left: Image.Image, right: Image.Image) -> Image.Image:
    """The middle third of what was drawn (size, 3·size, 3), meeting the squares beside it."""
    middle = np.split(drawn, 3, axis=1)[1]
    return picture_of(meeting(middle, np.asarray(left)[:, -1], np.asarray(right)[:, 0]))


def meeting(middle: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A middle (h, w, 3) whose first and last columns are the columns (h, 3) that adjoin it.

    What these columns lack is spread over the middle like a membrane that is held at both ends:
    a difference in colour reaches far, one in detail fades at once, and the middle keeps its own
    differences between neighbours as well as it can (Pérez, Gangnet, Blake: "Poisson Image
    Editing", SIGGRAPH 2003). The membrane is a sum of cosines down the columns, each with a
    slope of its own along the rows.
    """
    height, width, _ = middle.shape
    lacking = dct(np.stack([left - middle[:, 0], right - middle[:, -1]]), axis=1)
    slopes = np.arccosh(2 - np.cos(np.pi * np.arange(height) / height))
    slopes = np.maximum(slopes, LEVEL)[:, None]
    to_end = np.arange(width)[::-1]
    falling = np.exp(-slopes * to_end[::-1]) * np.expm1(-2 * slopes * to_end)
    falling /= np.expm1(-2 * slopes * (width - 1))  # from 1 in the first column to 0 in the last
    ends = np.stack([falling, falling[:, ::-1]])
    return middle + idct(np.einsum("ekx,ekc->kxc", ends, lacking), axis=0)


def between(left: Image.Image, middle: Image.Image, right: Image.Image) -> Image.Image:
    """The three side by side, at the height of the lower of the two pictures.

    That one's pixels stay as they are; a higher one is shrunk. The middle becomes a square.
    """
    height = min(left.height, right.height)
    parts = [
        _of_height(left, height),
        middle.resize((height, height), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP),
        _of_height(right, height),
    ]
    joined = Image.new("RGB", (sum(part.width for part in parts), height))
    start = 0
    for part in parts:
        joined.paste(part, (start, 0))
        start += part.width
    return joined


def picture_of(values: np.ndarray) -> Image.Image:
    """The picture of values (h, w, 3) from 0 to 255."""
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _of_height(picture: Image.Image, height: int) -> Image.Image:
    if picture.height == height:
        return picture
    size = width_at(picture.size, height), height
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
