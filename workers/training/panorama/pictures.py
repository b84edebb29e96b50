"""Where training's pictures come from: a folder of photographs, or drawn landscapes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from shared.errors import InvalidImage, InvalidRequest
from shared.images import decode, probe
from workers.training.panorama.landscapes import landscape

Array = np.ndarray

WIDTH = 3  # a crop is so many times as wide as it is high
LARGEST = 2  # times the crop's height: higher pictures are shrunk to it
MAX_PIXELS = 100_000_000
READERS = 8  # threads that look through a folder
WIDER = 4  # heights of a drawn landscape, so that there is something to choose a crop from


class Pictures(Protocol):
    """Pictures by number, of which crops are (size, 3·size, 3), uint8 RGB."""

    size: int

    def __len__(self) -> int: ...

    def crop(self, index: int, rng: np.random.Generator | None = None) -> Array:
        """A random crop, or the one in the centre."""


class Folder:
    """The usable pictures among some files; `skipped` counts the others by the reason."""

    def __init__(
        self, files: Sequence[Path], size: int, least: int, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Looks through the files, every byte of each.

        Raises InvalidRequest where fewer than `least` are usable: images at least `size` high
        and 3·size wide.
        """
        self.size = size
        self.max_pixels = max_pixels
        self.files: list[Path] = []
        self.skipped: Counter[str] = Counter()
        with ThreadPoolExecutor(READERS) as readers:
            for file, reason in zip(files, readers.map(self._refusal, files), strict=True):
                if reason:
                    self.skipped[reason] += 1
                else:
                    self.files.append(file)
        if len(self) < least:
            why = "".join(f", {count} {reason}" for reason, count in self.skipped.most_common())
            raise InvalidRequest(
                f"{len(self)} of {len(files)} files are usable pictures, and {least} are needed"
                f"{why}; a picture is at least {WIDTH * size} pixels wide and {size} high"
            )

    def __len__(self) -> int:
        return len(self.files)

    def crop(self, index: int, rng: np.random.Generator | None = None) -> Array:
        picture = decode(self.files[index].read_bytes(), self.max_pixels)
        return cropped(picture, self.size, rng)

    def _refusal(self, file: Path) -> str:
        """Why a file is not usable, or nothing."""
        try:
            info = probe(file.read_bytes(), self.max_pixels)
        except InvalidImage:
            return "not images"
        small = info.width < WIDTH * self.size or info.height < self.size
        return "too small" if small else ""


class Landscapes:
    """Drawn landscapes of these seeds."""

    def __init__(self, seeds: range, size: int) -> None:
        self.seeds = seeds
        self.size = size

    def __len__(self) -> int:
        return len(self.seeds)

    def crop(self, index: int, rng: np.random.Generator | None = None) -> Array:
        drawn = landscape(self.seeds[index], self.size, WIDER * self.size)
        left = _start(WIDER * self.size, WIDTH * self.size, rng)
        return drawn[:, left : left + WIDTH * self.size]


def cropped(picture: Image.Image, size: int, rng: np.random.Generator | None) -> Array:
    """A crop (size, 3·size, 3) of an RGB picture, random or from the centre.

    A picture more than twice as high as the crop is shrunk to that height first, or to the
    crop's width where it would become too narrow.
    """
    if picture.height > LARGEST * size:
        scale = max(LARGEST * size / picture.height, WIDTH * size / picture.width)
        width, height = round(picture.width * scale), round(picture.height * scale)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left = _start(picture.width, WIDTH * size, rng)
    top = _start(picture.height, size, rng)
    return np.asarray(picture.crop((left, top, left + WIDTH * size, top + size)))


def files_in(folder: Path) -> Iterator[Path]:
    """Every plain file below a folder, in the order of their names; links are left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _start(whole: int, part: int, rng: np.random.Generator | None) -> int:
    room = whole - part
    return room // 2 if rng is None else int(rng.integers(room + 1))
