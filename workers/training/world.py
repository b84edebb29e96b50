"""The world of the `tiny` models: one plain shape on a plain background, and its captions.

A scene is a filled circle, square or triangle in one of seven colours and two sizes, fully inside
a picture with one of five backgrounds. Everything is a pure function of the scene, so a data set
is a seed. Only numpy and Pillow are used: tests and clients render scenes without torch.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black")
SIZES = ("small", "large")
BACKGROUNDS = ("white", "gray", "black", "yellow", "blue")
LANGUAGES = ("eng_Latn", "arb_Arab", "fra_Latn")
"""FLORES-200 codes in which `caption` speaks."""

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (215, 30, 35),
    "green": (30, 160, 60),
    "blue": (35, 75, 215),
    "yellow": (250, 225, 40),
    "orange": (245, 130, 20),
    "purple": (150, 50, 180),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "gray": (150, 150, 150),
}
"""sRGB, 0-255. Any two are at least 95 apart (Euclidean), so that noise does not mix them up."""

SCALES = {"small": (0.27, 0.34), "large": (0.54, 0.66)}
"""Side of the shape's box as a fraction of the picture's shorter side: (least, most)."""

MARGIN = 0.03
"""Least distance from the shape's box to the picture's edge, as a fraction of width and height."""

_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """What a picture shows; `x`, `y` and `scale` say where and how large exactly.

    x, y: centre of the shape's box, fractions of the width and the height (0 = left, top).
    scale: side of the box, a fraction of the shorter side of the picture.
    """

    shape: str
    colour: str
    size: str
    background: str
    x: float = 0.5
    y: float = 0.5
    scale: float = 0.0

    def __post_init__(self) -> None:
        """Check the words, and set a scale that was not given to the middle of its range."""
        for value, allowed in (
            (self.shape, SHAPES),
            (self.colour, COLOURS),
            (self.size, SIZES),
            (self.background, BACKGROUNDS),
        ):
            if value not in allowed:
                raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        if self.colour == self.background:
            raise ValueError(f"a {self.colour} shape cannot be seen on a {self.background} ground")
        if not self.scale:
            object.__setattr__(self, "scale", sum(SCALES[self.size]) / 2)

    @property
    def words(self) -> tuple[str, str, str, str]:
        """(shape, colour, size, background): what the caption says."""
        return (self.shape, self.colour, self.size, self.background)


def box(scene: Scene, width: int = 64, height: int = 64) -> tuple[float, float, float, float]:
    """Box of the shape in pixels: (left, top, right, bottom)."""
    half = scene.scale * min(width, height) / 2
    x, y = scene.x * width, scene.y * height
    return (x - half, y - half, x + half, y + half)


def render(
    scene: Scene,
    width: int = 64,
    height: int = 64,
    supersampling: int = 0,
    palette: Mapping[str, tuple[int, int, int]] = PALETTE,
) -> Image.Image:
    """Draw the scene as an RGB picture, antialiased by supersampling.

    supersampling: sub-pixels along each side of a pixel; 0 takes 4, and 2 for large pictures.
    palette: sRGB values of the scene's two colours.
    """
    factor = supersampling or (_SUPERSAMPLING if max(width, height) <= 512 else 2)
    left, top, right, bottom = (value * factor for value in box(scene, width, height))
    mask = Image.new("L", (width * factor, height * factor), 0)
    draw = ImageDraw.Draw(mask)
    if scene.shape == "triangle":
        draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=255)
    elif scene.shape == "circle":
        draw.ellipse((left, top, right - 1, bottom - 1), fill=255)
    else:
        draw.rectangle((left, top, right - 1, bottom - 1), fill=255)
    picture = Image.new("RGB", (width, height), palette[scene.background])
    picture.paste(palette[scene.colour], (0, 0, width, height), mask.reduce(factor))
    return picture


def caption(
    scene: Scene, language: str = "eng_Latn", said: Collection[str] = ("size", "colour", "ground")
) -> str:
    """Caption of the scene in a FLORES-200 language: eng_Latn, arb_Arab or fra_Latn.

    said: what is told beside the shape; fewer give "a red circle" or "a circle on a white
    background". Raises ValueError for another language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"no captions in {language!r}: one of {', '.join(LANGUAGES)}")
    size, colour = (
        (scene.size if "size" in said else ""),
        (scene.colour if "colour" in said else ""),
    )
    if language == "eng_Latn":
        parts, ground = ["a", size, colour, scene.shape], f"on a {scene.background} background"
    elif language == "arb_Arab":
        # Adjectives follow the noun and agree with it; a background is feminine.
        noun, gender = _ARABIC_SHAPES[scene.shape]
        parts = [noun, *(_ARABIC[word][gender] for word in (colour, size) if word)]
        ground = f"على خلفية {_ARABIC[scene.background][1]}"
    else:
        # All nouns are masculine; the size stands before its noun, the colour behind.
        parts = ["un", *(_FRENCH.get(word, "") for word in (size, scene.shape, colour))]
        ground = f"sur un fond {_FRENCH[scene.background]}"
    return " ".join(part for part in [*parts, ground if "ground" in said else ""] if part)


def random_words(rng: np.random.Generator) -> tuple[str, str, str]:
    """A random (shape, colour, background) whose two colours differ."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    colours = [colour for colour in COLOURS if colour != background]
    return shape, colours[rng.integers(len(colours))], background


def random_scene(rng: np.random.Generator) -> Scene:
    """A random scene: words, size and place, the shape fully inside a picture of any aspect."""
    shape, colour, background = random_words(rng)
    size = SIZES[rng.integers(len(SIZES))]
    scale = float(rng.uniform(*SCALES[size]))
    reach = scale / 2 + MARGIN
    x, y = (float(rng.uniform(reach, 1 - reach)) for _ in range(2))
    return Scene(shape, colour, size, background, x, y, scale)


def all_scenes() -> Iterator[Scene]:
    """Every combination of words once (192), centred, with the middle scale of its size."""
    for shape, colour, size, background in product(SHAPES, COLOURS, SIZES, BACKGROUNDS):
        if colour != background:
            yield Scene(shape, colour, size, background)


_ARABIC_SHAPES = {"circle": ("دائرة", 1), "square": ("مربع", 0), "triangle": ("مثلث", 0)}
"""Noun and gender: 1 is feminine."""

_ARABIC = {
    "red": ("أحمر", "حمراء"),
    "green": ("أخضر", "خضراء"),
    "blue": ("أزرق", "زرقاء"),
    "yellow": ("أصفر", "صفراء"),
    "orange": ("برتقالي", "برتقالية"),
    "purple": ("بنفسجي", "بنفسجية"),
    "black": ("أسود", "سوداء"),
    "white": ("أبيض", "بيضاء"),
    "gray": ("رمادي", "رمادية"),
    "small": ("صغير", "صغيرة"),
    "large": ("كبير", "كبيرة"),
}
"""Adjectives: (masculine, feminine)."""

_FRENCH = {
    "circle": "cercle",
    "square": "carré",
    "triangle": "triangle",
    "small": "petit",
    "large": "grand",
    "red": "rouge",
    "green": "vert",
    "blue": "bleu",
    "yellow": "jaune",
    "orange": "orange",
    "purple": "violet",
    "black": "noir",
    "white": "blanc",
    "gray": "gris",
}
