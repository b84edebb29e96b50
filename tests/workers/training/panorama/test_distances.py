import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from workers.training.panorama.distances import distances


def features(count: int, seed: int, values: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(values, values, generator=generator)
    return torch.randn(count, values, generator=generator) @ mixing


def test_fid_is_that_of_the_papers_formula() -> None:
    real, drawn = features(40, 0), features(60, 1) + 1
    one, other = (np.cov(each.double().numpy(), rowvar=False) for each in (real, drawn))
    shift = (real.double().mean(0) - drawn.double().mean(0)).square().sum().item()
    expected = shift + np.trace(one + other - 2 * sqrtm(one @ other).real)
    assert distances(real, drawn, 0)["fid"] == pytest.approx(expected)


def test_kid_is_that_of_the_papers_formula() -> None:
    """Of two pictures each, every subset is all of them."""
    real, drawn = features(2, 0).double(), features(2, 1).double()

    def kernel(x: Tensor, y: Tensor) -> float:
        return float((x @ y / 5 + 1) ** 3)

    across = np.mean([kernel(x, y) for x in real for y in drawn])
    expected = kernel(*real) + kernel(*drawn) - 2 * across
    kid = distances(real, drawn, 0)["kid"]
    assert kid["mean"] == pytest.approx(expected)
    assert (kid["std"], kid["subset"]) == (pytest.approx(0, abs=1e-9), 2)


def test_equal_sets_are_near_and_a_shift_adds_its_square() -> None:
    real = features(200, 0)
    same, shifted = distances(real, real, 0), distances(real, real + 3, 0)
    assert same["fid"] == pytest.approx(0, abs=1e-6)
    assert shifted["fid"] == pytest.approx(5 * 3**2, rel=1e-5)
    assert abs(same["kid"]["mean"]) < shifted["kid"]["mean"] / 10
    assert same["kid"]["subset"] == 100


def test_more_values_than_pictures_leave_a_distance_that_is_a_number() -> None:
    found = distances(features(3, 0, 64), features(4, 1, 64), 0)
    assert found["fid"] > 0
    assert np.isfinite([found["kid"]["mean"], found["kid"]["std"]]).all()


def test_the_seed_chooses_the_subsets_and_leaves_chance_elsewhere_alone() -> None:
    real, drawn = features(20, 0), features(20, 1)
    before = torch.random.get_rng_state()
    first, again, other = (distances(real, drawn, seed) for seed in (1, 1, 2))
    assert first == again
    assert first["kid"] != other["kid"]
    assert torch.equal(torch.random.get_rng_state(), before)
