"""The seam error, on cases whose answer is known."""

import numpy as np
import pytest
from PIL import Image

from bench.seams import seam_error
from workers.compositing.classic import alpha, poisson

SIDE, SOURCE, TOP, LEFT, SHIFT = 40, 20, 8, 12, 30
BOX = slice(TOP, TOP + SOURCE), slice(LEFT, LEFT + SOURCE)


@pytest.fixture
def target():
    values = np.random.default_rng(5).integers(60, 200, (SIDE, SIDE, 3))
    return Image.fromarray(values.astype(np.uint8))


@pytest.fixture
def brighter(target):
    """A source that is a piece of the target, only brighter."""
    return Image.fromarray(np.asarray(target)[BOX] + np.uint8(SHIFT))


@pytest.fixture
def disc():
    y, x = np.mgrid[:SOURCE, :SOURCE] - (SOURCE - 1) / 2
    return Image.fromarray(((x**2 + y**2 < 49) * 255).astype(np.uint8))


def test_poisson_of_an_evenly_brighter_source_has_no_seam(target, brighter, disc):
    composite = poisson(brighter, disc, target, TOP, LEFT)
    assert seam_error(composite, brighter, disc, target, TOP, LEFT) == 0


def test_a_paste_of_it_has_its_brightness_for_an_error_at_each_crossing(target):
    """The mask is the left half of the picture: each row has 1 crossing among 3 pairs in a row
    of the band, and 4 columns of the band have pairs one above the other."""
    source = Image.fromarray(np.asarray(target) + np.uint8(SHIFT))
    mask = Image.new("L", source.size)
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    composite = alpha(source, mask, target, 0, 0)
    pairs = 3 * SIDE + 4 * (SIDE - 1)
    assert seam_error(composite, source, mask, target, 0, 0) == pytest.approx(SHIFT * SIDE / pairs)


def test_only_the_seam_counts(target, brighter, disc):
    composite = np.asarray(poisson(brighter, disc, target, TOP, LEFT)).copy()
    composite[TOP + SOURCE // 2, LEFT + SOURCE // 2] = 0  # the middle of the disc
    composite[0, 0] = 0
    assert seam_error(Image.fromarray(composite), brighter, disc, target, TOP, LEFT) == 0
    composite[TOP + SOURCE // 2, LEFT + 3] ^= 16  # its leftmost pixel
    assert seam_error(Image.fromarray(composite), brighter, disc, target, TOP, LEFT) > 0


@pytest.mark.parametrize("value", [0, 255])
def test_without_a_border_there_is_no_seam(target, value):
    with pytest.raises(ValueError, match="no seam"):
        seam_error(target, target, Image.new("L", target.size, value), target, 0, 0)
