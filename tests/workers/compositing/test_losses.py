"""The terms against plain formulations of them."""

import pytest
import torch
from torch.nn import functional

from workers.compositing.losses import gram, laplacian, total_variation


def features(channels: int, side: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((channels, side, side), generator=generator) * 10


@pytest.mark.parametrize(("channels", "side"), [(64, 64), (128, 33), (256, 16), (512, 5), (512, 2)])
def test_a_grams_gradient_is_autograds_bit_for_bit(channels: int, side: int) -> None:
    mine, plain = (features(channels, side).requires_grad_() for _ in range(2))
    wanted = gram(features(channels, side, seed=1))
    flat = plain.view(channels, -1)
    functional.mse_loss(gram(mine), wanted).backward()
    functional.mse_loss(flat @ flat.t() / flat.numel(), wanted).backward()
    assert torch.equal(mine.grad, plain.grad)
    assert torch.equal(gram(mine), flat @ flat.t() / flat.numel())


def test_a_laplacian_ends_at_the_edge() -> None:
    picture = torch.full((1, 3, 4, 5), 2.0)
    assert laplacian(picture)[0, 1].tolist() == [
        [4, 2, 2, 2, 4],
        [2, 0, 0, 0, 2],
        [2, 0, 0, 0, 2],
        [4, 2, 2, 2, 4],
    ]


def test_the_variation_is_a_sum_over_neighbours() -> None:
    picture = torch.zeros((1, 3, 3, 3))
    picture[0, 0, 1, 1] = 5
    assert total_variation(picture).item() == 4 * 5
