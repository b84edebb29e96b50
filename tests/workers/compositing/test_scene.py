"""A sample's pictures: where the mask comes from, and what lies beside it."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import InvalidImage
from tests.workers.compositing.small import SOURCE, sample
from tests.workers.families import noise
from workers.compositing.scene import Pieces


def cut_out(alpha: Image.Image) -> dict[str, Any]:
    """A sample whose source is cut out by its own alpha: hidden pixels are black."""
    source = Image.new("RGBA", alpha.size)
    source.paste(noise(3, *alpha.size), mask=alpha)
    source.putalpha(alpha)
    return sample(source=source, mask=None)


def half() -> Image.Image:
    """Opaque on the left, hidden on the right."""
    alpha = Image.new("L", (SOURCE, SOURCE), 0)
    alpha.paste(255, (0, 0, SOURCE // 2, SOURCE))
    return alpha


def test_a_mask_counts_as_far_as_it_is_light_and_opaque() -> None:
    mask = Image.new("RGBA", (SOURCE, SOURCE), (128, 128, 128, 255))
    mask.putpixel((0, 0), (255, 255, 255, 0))
    mask.putpixel((1, 0), (255, 255, 255, 64))
    found = Pieces.of(sample(mask=mask)).mask
    assert [found.getpixel((x, 0)) for x in range(3)] == [0, 64, 128]


def test_hidden_pixels_have_the_colour_of_the_nearest_visible_one() -> None:
    pieces = Pieces.of(cut_out(half()))
    source = np.asarray(pieces.source)
    visible, edge = slice(0, SOURCE // 2), SOURCE // 2 - 1
    assert (source[:, visible] == np.asarray(noise(3, SOURCE, SOURCE))[:, visible]).all()
    assert (source[:, SOURCE // 2 :] == source[:, edge : edge + 1]).all()
    assert pieces.mask.tobytes() == half().tobytes()


@pytest.mark.parametrize(
    ("alpha", "words"), [(255, "opaque everywhere, and there is no mask"), (0, "mask is empty")]
)
def test_a_source_that_shows_no_mask_is_refused(alpha: int, words: str) -> None:
    with pytest.raises(InvalidImage, match=words):
        Pieces.of(cut_out(Image.new("L", (SOURCE, SOURCE), alpha)))


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InvalidImage, match="mask is empty"):
        Pieces.of(sample(mask=Image.new("RGBA", (SOURCE, SOURCE), "black")))


@pytest.mark.parametrize(("side", "x", "top"), [(16, 12, 4), (15, 12, 4), (15, 8, 0)])
def test_the_centre_says_where_the_source_lies(side: int, x: int, top: int) -> None:
    source, mask = (Image.new("RGBA", (side, side), "white") for _ in range(2))
    assert Pieces.of(sample(source=source, mask=mask, x=x)).top == top
