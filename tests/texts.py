"""Rendered text with its words known, for what reads text in pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont

_TTF = Path(matplotlib.get_data_path()) / "fonts" / "ttf"

Font = Callable[[int], Any]  # pixels of an em → a font of Pillow

FONTS: Mapping[str, Font] = {
    "Aileron": ImageFont.load_default,  # which Pillow brings
    **{
        name: partial(ImageFont.truetype, _TTF / f"{name}.ttf")
        for name in (
            "DejaVuSans",
            "DejaVuSans-Bold",
            "DejaVuSerif",
            "DejaVuSansMono",
            "STIXGeneral",
        )
    },
}
SIZES = (14, 18, 24, 32, 48, 64)
BLACK_ON_WHITE = ((0, 0, 0), (255, 255, 255))
INKS = (
    BLACK_ON_WHITE,
    ((240, 240, 230), (20, 30, 60)),
    ((120, 20, 20), (250, 240, 200)),
    ((255, 220, 0), (0, 0, 0)),
)

SENTENCES = (
    "The quick brown fox jumps over a lazy dog",
    "Fresh bread and coffee every morning",
    "Invoice 2041 is due on 15 March",
    "Please keep this door closed at all times",
    "Open daily from 9:30 to 18:00",
    "Platform 7 for trains to the north",
    "Chapter Three: A Walk along the River",
    "No parking between 8 and 20 hours",
    "Dr. Smith, second floor, room 307",
    "Handle with care and store below 25 degrees",
    "Tickets are sold at the main entrance",
    "Mind the gap and stand behind the yellow line",
    "Summer sale: up to 60 percent off",
    "Written by hand in the winter of 1897",
    "Every job gets exactly one answer",
    "Water boils sooner in the high mountains",
)


@dataclass(frozen=True)
class Page:
    """A picture and the lines of text in it."""

    picture: Image.Image
    lines: tuple[str, ...]
    font: str
    size: int

    @property
    def words(self) -> list[str]:
        return " ".join(self.lines).split()


def render(
    lines: Sequence[str],
    font: Font = FONTS["DejaVuSans"],
    size: int = 32,
    ink: tuple[int, int, int] = BLACK_ON_WHITE[0],
    paper: tuple[int, int, int] = BLACK_ON_WHITE[1],
) -> Image.Image:
    """Lines of text, one under the other, in a picture that is a little larger; size in pixels."""
    text, face = "\n".join(lines), font(size)
    canvas = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    spacing = size // 2
    box = canvas.multiline_textbbox((0, 0), text, font=face, spacing=spacing)
    left, top, right, bottom = (round(side) for side in box)
    picture = Image.new("RGB", (right - left + 2 * size, bottom - top + 2 * size), paper)
    origin = (size - left, size - top)
    ImageDraw.Draw(picture).multiline_text(origin, text, fill=ink, font=face, spacing=spacing)
    return picture


def pages(lines: int = 2) -> Iterator[Page]:
    """One page of every font and size, the sentences taken in turn and the inks spread evenly."""
    sentences = cycle(SENTENCES)
    for row, (name, font) in enumerate(FONTS.items()):
        for column, size in enumerate(SIZES):
            text = tuple(islice(sentences, lines))
            ink, paper = INKS[(row + column) % len(INKS)]
            yield Page(render(text, font, size, ink, paper), text, name, size)


def exact(expected: Sequence[str], read: Sequence[str]) -> int:
    """How many of the expected words were read exactly, in their order."""
    matcher = SequenceMatcher(None, list(expected), list(read), autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks())
