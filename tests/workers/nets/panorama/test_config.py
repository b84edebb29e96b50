from dataclasses import replace

import pytest

from workers.nets.panorama.config import FULL, TINY


@pytest.mark.parametrize(
    "change",
    [
        {"size": 128},  # the coarsest map would be 2×2
        {"widths": TINY.widths[:-1]},
        {"widths": (16, 32), "size": 16, "encoder_blocks": (), "decoder_blocks": ()},
        {"decoder_blocks": (4, 2, 2)},
        {"critic": (8,) * 7},
        {"skips": (0, 3)},  # at the coarsest map the sides are the encoder's own
        {"skips": (0, 2), "attention": (1,)},
    ],
)
def test_sizes_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match=r"do not|not in order"):
        replace(TINY, **change)


def test_dilation_grows_with_the_map():
    assert [FULL.dilation(stage) for stage in (5, 4, 3, 2)] == [1, 2, 4, 4]
    assert [TINY.dilation(stage) for stage in (3, 2)] == [1, 2]
