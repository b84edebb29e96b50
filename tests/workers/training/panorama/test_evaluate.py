import numpy as np
import pytest
import torch

from workers.training.panorama.evaluate import (
    at_full_height,
    cross_fade,
    errors,
    measured,
    mirrored,
    sheet,
)
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import tensor

PICTURES = Landscapes(range(20), 16)


def panoramas() -> torch.Tensor:
    return tensor([PICTURES.crop(number) for number in range(len(PICTURES))])


def test_the_baselines_are_what_they_are_called() -> None:
    left, right = torch.rand(2, 1, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    fade, mirror = cross_fade(left, right), mirrored(left, right)
    for column in range(8):
        share = (column + 0.5) / 8
        expected = (1 - share) * left[..., 7] + share * right[..., 0]
        torch.testing.assert_close(fade[..., column], expected)
        source = left[..., 7 - column] if column < 4 else right[..., 7 - column]
        assert torch.equal(mirror[..., column], source)


def test_errors_are_those_of_a_slow_count() -> None:
    true = panoramas().double()
    middle = mirrored(true[..., :16], true[..., 32:])
    made = torch.cat([true[..., :16], middle, true[..., 32:]], -1)
    difference = (made - true).numpy()
    seams = [16, 17, 30, 31]
    pixel = np.abs(difference[..., seams]).mean()
    down = np.abs(np.diff(difference, axis=2))[..., seams].mean()
    to_the_left = np.abs(difference - np.roll(difference, 1, axis=3))
    across = to_the_left[..., [16, 17, 18, 30, 31, 32]].mean()  # the outer two over the seams
    found = errors(middle, true)
    assert found["pixel, seams"] == pytest.approx(pixel)
    assert found["gradient, seams"] == pytest.approx((down + across) / 2)
    assert found["pixel, middle"] == pytest.approx(np.abs(difference[..., 16:32]).mean())


def test_the_truth_has_no_errors_and_a_tint_has_known_ones() -> None:
    true = panoramas() * 0.5
    middle = true.chunk(3, dim=-1)[1]
    assert set(errors(middle, true).values()) == {0.0}
    tinted = errors(middle + 0.25, true)
    assert tinted["pixel, middle"] == tinted["pixel, seams"] == pytest.approx(0.25)
    # Only the step over either seam is wrong: 2 of 17 steps across, 2 of 6 in the bands.
    assert tinted["gradient, middle"] == pytest.approx(0.25 * 2 / 17 / 2)
    assert tinted["gradient, seams"] == pytest.approx(0.25 * 2 / 6 / 2)


def test_a_measure_is_the_mean_over_all_pictures() -> None:
    found = measured(PICTURES, {"cross-fade": cross_fade})["cross-fade"]
    true = panoramas()
    left, _, right = true.chunk(3, dim=-1)
    assert found == pytest.approx(errors(cross_fade(left, right), true), rel=1e-5)


def test_a_sheet_shows_the_scenes_and_every_way() -> None:
    picture = np.asarray(sheet(PICTURES, {"cross-fade": cross_fade, "mirrored": mirrored}, rows=3))
    assert picture.shape == (3 * 16, 3 * 48, 3)
    np.testing.assert_array_equal(picture[16:32, :48], PICTURES.crop(1))
    np.testing.assert_array_equal(picture[16:32, 48:64], PICTURES.crop(1)[:, :16])


def test_at_full_height_the_middle_meets_the_sides_and_keeps_its_differences() -> None:
    left, truth, right = panoramas()[:4].chunk(3, dim=-1)
    beside = truth.flip(-1)  # meets it on both sides
    torch.testing.assert_close(at_full_height(lambda *_: truth, beside, beside), truth)
    lighter = at_full_height(lambda *_: truth * 0.5 + 0.3, left * 0.5, right * 0.5)
    torch.testing.assert_close(lighter[..., 0], left[..., -1] * 0.5)
    torch.testing.assert_close(lighter[..., -1], right[..., 0] * 0.5)
