"""Squares out of pictures, and a middle that fits between them."""

import numpy as np
import pytest
from PIL import Image

from shared.kinds.panorama import full_size
from tests.workers.families import noise
from workers.panorama.stitching import Side, between, meeting, middle_of, square

SIZE = 16


@pytest.mark.parametrize("full_height", [False, True])
@pytest.mark.parametrize(("side", "start"), [("left", 24), ("right", 0)])
def test_the_network_sees_what_is_next_to_the_middle(
    side: Side, start: int, full_height: bool
) -> None:
    picture = noise(1, 24 + SIZE, SIZE)
    expected = picture.crop((start, 0, start + SIZE, SIZE))
    assert square(picture, side, SIZE, full_height) == expected


def test_of_a_high_picture_it_sees_the_centre_or_all() -> None:
    picture = noise(2, SIZE, 3 * SIZE)
    centre = picture.crop((0, SIZE, SIZE, 2 * SIZE))
    assert square(picture, "left", SIZE, full_height=False) == centre
    striped = Image.fromarray(
        np.arange(0, 240, 5, np.uint8)[:, None, None].repeat(SIZE, 1).repeat(3, 2)
    )
    rows = np.asarray(square(striped, "right", SIZE, full_height=True))[:, 0, 0]
    assert rows == pytest.approx(np.arange(5, 240, 15), abs=1)


def test_a_larger_picture_is_shrunk() -> None:
    flat = Image.new("RGB", (100, 64), "red")
    flat.paste("blue", (36, 0, 68, 64))
    seen = square(flat, "left", SIZE, full_height=False)
    assert seen.size == (SIZE, SIZE)
    assert seen.getpixel((2, 8)) == (0, 0, 255)
    assert seen.getpixel((13, 8)) == (255, 0, 0)


def test_the_middle_meets_both_pictures_and_keeps_its_own_differences() -> None:
    """What is added is harmonic: each pixel the mean of its neighbours, the rim's mirrored."""
    random = np.random.default_rng(0)
    middle, left, right = (random.uniform(0, 255, shape) for shape in ((8, 12, 3), (8, 3), (8, 3)))
    met = meeting(middle, left, right)
    assert met[:, 0] == pytest.approx(left)
    assert met[:, -1] == pytest.approx(right)
    added = np.pad(met - middle, ((1, 1), (0, 0), (0, 0)), mode="edge")
    inner = added[1:-1, 1:-1]
    around = added[:-2, 1:-1] + added[2:, 1:-1] + added[1:-1, :-2] + added[1:-1, 2:]
    assert around / 4 == pytest.approx(inner)


def test_a_middle_that_fits_stays_as_it_is() -> None:
    scene = np.asarray(noise(3, 3 * SIZE, SIZE)).astype(np.float32)
    left, middle, right = (Image.fromarray(part.astype(np.uint8)) for part in np.split(scene, 3, 1))
    left.paste(middle.crop((0, 0, 1, SIZE)), (SIZE - 1, 0))
    right.paste(middle.crop((SIZE - 1, 0, SIZE, SIZE)), (0, 0))
    assert middle_of(scene, left, right) == middle


def test_a_tinge_of_the_middle_is_taken_out() -> None:
    grey = Image.new("RGB", (SIZE, SIZE), (100, 100, 100))
    tinged = np.tile(np.float32([130, 100, 90]), (SIZE, 3 * SIZE, 1))
    assert middle_of(tinged, grey, grey) == grey


@pytest.mark.parametrize(("left", "right"), [((40, 32), (90, 64)), ((90, 64), (40, 32))])
def test_the_lower_picture_stays_and_the_higher_one_is_shrunk(
    left: tuple[int, int], right: tuple[int, int]
) -> None:
    pictures = noise(4, *left), noise(5, *right)
    joined = between(pictures[0], Image.new("RGB", (SIZE, SIZE), "red"), pictures[1])
    widths = [width * 32 // height for width, height in (left, right)]
    assert joined.size == (widths[0] + 32 + widths[1], 32) == full_size(left, right)
    assert joined.crop((widths[0], 0, widths[0] + 32, 32)).getcolors() == [(1024, (255, 0, 0))]
    parts = joined.crop((0, 0, widths[0], 32)), joined.crop((widths[0] + 32, 0, joined.width, 32))
    for picture, part in zip(pictures, parts, strict=True):
        if picture.height == 32:
            assert part == picture
        else:
            assert np.asarray(part).std() < np.asarray(picture).std() / 1.5
