import pytest
import torch

from bench.contextual_attention import straightforward
from workers.nets.panorama.attention import borrow


def parts(height=8, width=12, samples=2):
    """Queries, keys and values of double precision."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(samples, 6, height, across, generator=generator, dtype=torch.float64) / 4
        for across in (width, 2 * width, 2 * width)
    ]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 10), (12, 6), (2, 4)])
def test_it_is_the_plain_way_with_patches(height, width):
    queries, keys, values = parts(height, width)
    torch.testing.assert_close(
        borrow(queries, keys, values), straightforward(queries, keys, values), atol=1e-12, rtol=0
    )


def test_its_gradients_are_those_of_the_plain_way():
    inputs = [part.requires_grad_() for part in parts()]
    ours, plain = (
        torch.autograd.grad(attention(*inputs).square().sum(), inputs)
        for attention in (borrow, straightforward)
    )
    torch.testing.assert_close(ours, plain, atol=1e-10, rtol=0)


def test_a_middle_that_repeats_a_part_of_the_sides_gets_what_belongs_to_that_part():
    _, keys, values = parts(16, 16, samples=1)
    borrowed = borrow(20 * keys[..., 8:24], 20 * keys, values)
    inside = (..., slice(4, -4), slice(4, -4))  # whose patches are whole on both maps
    torch.testing.assert_close(borrowed[inside], values[..., 8:24][inside], atol=1e-3, rtol=0)


def test_autocast_does_not_make_it_coarser():
    queries, keys, values = (part.float() for part in parts())
    with torch.autocast("cpu", torch.bfloat16):
        coarse = borrow(queries, keys, values)
    assert torch.equal(coarse, borrow(queries, keys, values))
