import numpy as np
import pytest

from workers.training.panorama.landscapes import HELD_OUT, TRAINING, landscape


def test_a_scene_is_its_seed_alone() -> None:
    np.testing.assert_array_equal(landscape(7, 32, 96), landscape(7, 32, 96))
    assert landscape(7, 32, 96).dtype == np.uint8
    assert np.abs(landscape(7, 32, 96).astype(int) - landscape(8, 32, 96)).mean() > 5


def test_training_and_measuring_share_no_seed() -> None:
    assert not set(TRAINING) & set(HELD_OUT)


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_is_the_same_at_every_size(seed: int) -> None:
    small = landscape(seed, 32, 128).astype(float)
    large = landscape(seed, 128, 512).astype(float)
    shrunk = large.reshape(32, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 4  # of 255: edges fall otherwise between pixels


def test_scenes_are_wide_landscapes() -> None:
    """Bright skies and dark nights, the sky at the top; both ends of one scene are alike."""
    scenes = np.stack([landscape(seed, 32, 96) for seed in range(60)]).astype(float)
    brightness = scenes.mean((1, 2, 3))
    assert brightness.min() < 60
    assert brightness.max() > 150
    left, right = scenes[:, :, :32].mean((1, 2)), scenes[:, :, -32:].mean((1, 2))
    others = np.roll(right, 1, axis=0)
    assert np.abs(left - right).mean() < 0.3 * np.abs(left - others).mean()
