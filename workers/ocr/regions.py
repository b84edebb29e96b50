"""Regions of text in a picture: their reading order, and a picture that shows them."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]  # x to the right, y down; pixels
Box = tuple[Point, Point, Point, Point]  # clockwise from the top left

COLOUR = (220, 30, 90)
LATIN = 0x250  # the letters below it are in Pillow's own font
SMALLEST, LARGEST = 8, 48  # pixels of an em of a label
LETTERS = 60  # of a region's text in its label


@dataclass(frozen=True)
class Region:
    """A line of text, or a part of one.

    `along` is a vector from where the text begins to where it ends, whatever way the letters
    are turned; it says nothing of scripts written from right to left.
    """

    box: Box
    text: str
    confidence: float  # 0 to 1
    along: Point

    @property
    def centre(self) -> Point:
        return sum(x for x, _ in self.box) / 4, sum(y for _, y in self.box) / 4


def box_within(corners: Iterable[Iterable[float]], picture: Image.Image) -> Box:
    """Four corners (x, y) as plain numbers, moved into the picture where they lie outside."""
    first, second, third, fourth = (
        (min(max(float(x), 0.0), picture.width), min(max(float(y), 0.0), picture.height))
        for x, y in corners
    )
    return first, second, third, fourth


def in_reading_order(regions: Iterable[Region]) -> list[Region]:
    """Line by line from the top, each from the left, or from the right where its script does.

    Top and left are those of the text: a page may lie on its side or stand on its head.
    """
    regions = list(regions)
    x, y = (sum(region.along[i] for region in regions) for i in (0, 1))
    length = math.hypot(x, y) or 1.0
    right = (x / length, y / length)
    down = (-right[1], right[0])
    lines: list[list[Region]] = []
    for region in sorted(regions, key=lambda region: _dot(region.centre, down)):
        if lines and _share(lines[-1][-1], region, down):
            lines[-1].append(region)
        else:
            lines.append([region])
    return [
        region
        for line in lines
        for region in sorted(
            line,
            key=lambda region: _dot(region.centre, right),
            reverse=right_to_left("".join(region.text for region in line)),
        )
    ]


def right_to_left(text: str) -> bool:
    """Whether most letters are of a script that is written so."""
    kinds = [unicodedata.bidirectional(letter) for letter in text]
    return kinds.count("R") + kinds.count("AL") > kinds.count("L")


def annotated(picture: Image.Image, regions: Sequence[Region]) -> Image.Image:
    """A copy of an RGB picture with the regions' outlines and, in Latin letters, their texts."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    width = max(1, round(max(picture.size) / 600))
    for region in regions:
        draw.polygon([*region.box], outline=COLOUR, width=width)
        label = region.text[:LETTERS]
        if all(ord(letter) < LATIN for letter in label):
            size = min(max(SMALLEST, 0.4 * thickness(region.box, region.along)), LARGEST)
            font = ImageFont.load_default(size)
            place = min(x for x, _ in region.box), min(y for _, y in region.box)
            anchor = "lb" if place[1] > 1.5 * size else "lt"
            draw.text(place, label, COLOUR, font, anchor, stroke_width=1, stroke_fill="white")
    return copy


def _share(above: Region, below: Region, down: Point) -> bool:
    """Whether two regions lie on one line: their bands overlap by half of the narrower one."""
    first, second = (
        (_dot(region.centre, down), thickness(region.box, region.along))
        for region in (above, below)
    )
    reach = min(first[1], second[1], key=abs)
    gap = second[0] - first[0]
    return (first[1] + second[1]) / 2 - gap >= reach / 2


def thickness(box: Box, along: Point) -> float:
    """How high the text of a box is, in pixels, when read along a vector."""
    length = math.hypot(*along) or 1.0
    normal = (-along[1] / length, along[0] / length)
    heights = [_dot(corner, normal) for corner in box]
    return max(heights) - min(heights)


def _dot(point: Point, axis: Point) -> float:
    return point[0] * axis[0] + point[1] * axis[1]
