"""Pictures to try the kind `composite` with: `python -m deploy.composite_samples FOLDER`.

A balloon drawn by code, cut out in three ways, on two landscapes drawn by code; and photographs
that come with scikit-image, each of which its author gave to the public. `samples.json` says where
each source goes in its target. Equal calls write equal pictures.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SOURCE, TARGET = 320, 512  # pixels a side of what is drawn
MARGIN = 8  # pixels around the balloon that its masks take in
CODE = "drawn by code"
NO_PHOTOGRAPHS = "photographs left out: they need scikit-image (pip install scikit-image)"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """A square source (RGB with a mask, or RGBA without) and a square RGB target.

    `row` and `column` are where the source's centre goes, and `span` is its side, as shares of the
    target's side. `credit` says whose pictures they are, and by what licence.
    """

    name: str
    source: Image.Image
    mask: Image.Image | None
    target: Image.Image
    row: float
    column: float
    span: float
    credit: str

    def placed(self, target_size: int) -> dict[str, int]:
        """The job's fields in pixels: source_size (even), target_size, x (row), y (column)."""
        return {
            "source_size": 2 * round(self.span * target_size / 2),
            "target_size": target_size,
            "x": round(self.row * target_size),
            "y": round(self.column * target_size),
        }


def drawn() -> Iterator[Sample]:
    """The balloon, with a hard mask, with a soft one, and with transparency of its own.

    The masks leave a margin around it, as blending by gradients wants; the transparency has none.
    """
    source, outline = balloon()
    cut_out = source.copy()
    cut_out.putalpha(outline)
    hard = outline.filter(ImageFilter.MaxFilter(MARGIN * 2 + 1)).point(
        lambda value: 255 * (value > 0)
    )
    soft = hard.filter(ImageFilter.GaussianBlur(MARGIN))
    yield Sample("balloon-hard", source, hard, meadow(), 0.46, 0.58, 0.6, CODE)
    yield Sample("balloon-soft", source, soft, sea(), 0.42, 0.42, 0.6, CODE)
    yield Sample("balloon-transparent", cut_out, None, sea(), 0.42, 0.55, 0.6, CODE)


def photographs() -> Iterator[Sample]:
    """Of scikit-image, whose package has them. Raises ModuleNotFoundError without it."""
    from skimage import data

    cat = Image.fromarray(data.chelsea()).crop((90, 0, 390, 300))
    coffee = Image.fromarray(data.coffee()).crop((90, 0, 490, 400))
    eye = Image.fromarray(data.retina())
    stars = Image.fromarray(data.hubble_deep_field()).crop((0, 0, 872, 872))
    rocket = Image.fromarray(data.rocket()).crop((180, 80, 460, 360))

    yield Sample(
        "cat-in-cup",
        cat,
        ellipse(300, 155, 150, 110, 122),
        coffee,
        0.33,
        0.48,
        0.3,
        "cat: Stefan van der Walt, CC0; cup: Rachel Michetti, CC0",
    )
    yield Sample(
        "eye-as-planet",
        eye,
        bright(eye, 30),
        stars,
        0.45,
        0.55,
        0.5,
        "eye: Mikael Häggström, CC0; stars: NASA, public domain",
    )
    yield Sample(
        "rocket-in-space",
        rocket,
        ellipse(280, 150, 140, 125, 62),
        stars,
        0.5,
        0.45,
        0.55,
        "rocket: SpaceX, public domain; stars: NASA, public domain",
    )


def balloon() -> tuple[Image.Image, Image.Image]:
    """A striped balloon before an even sky, and its mask."""
    y, x = _plane(4 * SOURCE)  # four times too large, for smooth edges
    across, up = x / 0.6, (y + 0.2) / 0.68
    near = across**2 + up**2
    envelope = near < 1
    depth = np.sqrt(np.clip(1 - near, 0, None))
    stripe = np.floor(np.arctan2(across, depth + 1e-9) / (np.pi / 8)).astype(int) % 3
    colours = np.array([[214, 60, 48], [244, 200, 66], [240, 236, 226]])[stripe]
    light = 0.45 + 0.55 * np.clip(0.5 * depth - 0.45 * across - 0.5 * up, 0, 1)
    basket = (np.abs(x) < 0.12) & (y > 0.68) & (y < 0.88)
    weave = np.where(np.sin(90 * x) * np.sin(90 * y) > 0, 96, 128)
    picture = np.empty((*x.shape, 3))
    picture[:] = 150, 178, 214
    picture[envelope] = (colours * light[..., None])[envelope]
    picture[basket] = weave[basket, None] * np.array([1.0, 0.75, 0.5])
    ropes = (np.abs(np.abs(x) - 0.11 - 0.25 * (0.68 - y)) < 0.012) & (y > 0.36) & (y <= 0.7)
    ropes &= ~envelope
    picture[ropes] = 70, 56, 44
    size = SOURCE, SOURCE
    mask = _mask(envelope | basket | ropes)
    return (
        _picture(picture).resize(size, Image.Resampling.BOX),
        mask.resize(size, Image.Resampling.BOX),
    )


def meadow() -> Image.Image:
    """Grass in the sun: fine vertical structure on slow patches."""
    patches, blades = noise(1, 6, 6), noise(2, 24, 150)
    glow = 0.35 + 0.35 * patches + 0.5 * (blades - 0.5)
    return _picture(glow[..., None] * np.array([150.0, 190.0, 70.0]) + [20, 34, 10])


def sea() -> Image.Image:
    """Waves at dusk, which grow towards the lower edge."""
    y, x = _plane(TARGET)
    near = (y + 1.2) / 2.2
    waves = np.sin(60 * np.log(near + 0.1) + 5 * noise(3, 8, 8) + 2 * x)
    glitter = noise(4, 120, 30) > 0.72
    colour = np.array([52.0, 74.0, 108.0]) + 60 * (1 - near)[..., None] * [1.6, 0.8, 0.5]
    return _picture(colour + 16 * (near * waves)[..., None] + 40 * (glitter * near)[..., None])


def noise(seed: int, rows: int, columns: int) -> Floats:
    """Values from 0 to 1, TARGET a side: a coarse grid of chance, and finer ones, made smooth."""
    random = np.random.default_rng(seed)
    total = np.zeros((TARGET, TARGET))
    for octave in range(3):
        grid = random.random((rows << octave, columns << octave)).astype(np.float32)
        smooth = Image.fromarray(grid).resize((TARGET, TARGET), Image.Resampling.BICUBIC)
        total += np.asarray(smooth, float) / 2**octave
    return (total - total.min()) / (total.max() - total.min())


def ellipse(side: int, row: float, column: float, height: float, width: float) -> Image.Image:
    """A mask with an ellipse of these half axes, in pixels."""
    y, x = np.mgrid[:side, :side]
    return _mask(((y - row) / height) ** 2 + ((x - column) / width) ** 2 < 1)


def bright(picture: Image.Image, threshold: int) -> Image.Image:
    """A mask of what is brighter than the threshold in any colour, without its specks."""
    mask = _mask(np.asarray(picture).max(-1) > threshold)
    return mask.filter(ImageFilter.MedianFilter(9))


def write(folder: Path, sample: Sample, target_size: int = TARGET) -> dict[str, Any]:
    """Save the sample's pictures as PNG; its entry of samples.json."""
    pictures = {"source": sample.source, "mask": sample.mask, "target": sample.target}
    files = {}
    for role, picture in pictures.items():
        if picture is not None:
            files[role] = f"{sample.name}-{role}.png"
            picture.save(folder / files[role])
    return {"name": sample.name, **files, **sample.placed(target_size), "credit": sample.credit}


def main(folder: Path) -> None:
    """Write the set, as much of it as this environment has."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [write(folder, sample) for sample in drawn()]
    try:
        entries += [write(folder, sample) for sample in photographs()]
    except ModuleNotFoundError:
        print(NO_PHOTOGRAPHS, file=sys.stderr)
    (folder / "samples.json").write_text(
        json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(f"{len(entries)} samples in {folder}")


def _plane(side: int) -> tuple[Floats, Floats]:
    """The rows' and the columns' places, from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return y, x


def _picture(values: Floats) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _mask(inside: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(inside.astype(np.uint8) * 255)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m deploy.composite_samples FOLDER")
    main(Path(sys.argv[1]))
