from dataclasses import replace

import pytest
import torch

from workers.nets.panorama.config import FULL, TINY
from workers.nets.panorama.generator import Generator

TOLERANCE = 1e-3


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_names_and_shapes_are_those_of_the_published_weights(keys):
    with torch.device("meta"):
        generator = Generator(FULL)
    tensors = generator.state_dict().items()
    assert [[name, list(tensor.shape)] for name, tensor in tensors] == keys["generator"]
    assert size(generator) == 258_666_240


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("output", lambda drawn: [drawn.image]),
        ("f_mid", lambda drawn: [drawn.middle]),
        ("F_left_chunks", lambda drawn: drawn.from_left),
        ("F_right_chunks", lambda drawn: drawn.from_right),
    ],
)
def test_it_draws_what_the_published_network_draws(published, name, part):
    wanted = published.wanted[name]
    maps = part(published.drawn)
    for found, expected in zip(maps, [wanted] if len(maps) == 1 else wanted, strict=True):
        assert list(found.shape) == expected["shape"]
        assert found.mean() == pytest.approx(expected["mean"], abs=TOLERANCE)
        assert found.std() == pytest.approx(expected["std"], abs=TOLERANCE)
        *places, values = torch.tensor(expected["samples"], dtype=torch.float64).T
        picked = found[0][tuple(place.long() for place in places)].double()
        torch.testing.assert_close(picked, values, atol=TOLERANCE, rtol=0)


def test_the_tiny_one_is_small_and_does_the_same(pair):
    generator = Generator(TINY).eval()
    assert size(generator) * 4 < 5e6
    with torch.inference_mode():
        drawn = generator(*pair)
        left, right = map(generator.content, pair)
    assert drawn.image.shape == (2, 3, 64, 192)
    assert 0 < drawn.image.min() < drawn.image.max() < 1
    assert drawn.middle.shape == left.shape == (2, 32, 4, 4)
    torch.testing.assert_close(drawn.from_left.left, left)
    torch.testing.assert_close(drawn.from_right.right, right)


def test_what_is_told_from_the_right_is_told_from_the_left_in_a_mirror():
    transfer = Generator(TINY).BCT
    left = torch.randn(1, TINY.content, 4, 4)
    right = torch.randn(1, TINY.content, 4, 4)
    _, from_left, from_right = transfer(left, right)
    _, back_from_left, back_from_right = transfer(right.flip(3), left.flip(3))
    for one, other in ((from_left, back_from_right), (from_right, back_from_left)):
        for part, mirrored in zip(one, reversed(other), strict=True):
            torch.testing.assert_close(part, mirrored.flip(3))


@pytest.mark.parametrize(
    ("skips", "attention"), [((0, 1, 2), (1,)), ((0, 1, 2), (0, 2)), ((1,), ()), ((), ())]
)
def test_everything_that_learns_is_used_and_the_rest_is_frozen(pair, skips, attention):
    generator = Generator(replace(TINY, skips=skips, attention=attention))
    drawn = generator(*pair)
    everything = (drawn.image, drawn.middle, *drawn.from_left, *drawn.from_right)
    sum(part.square().mean() for part in everything).backward()

    unused = {f"SHC{stage}" for stage in range(TINY.top) if stage not in skips}
    unused |= {f"SHC{stage}_mid" for stage in range(TINY.top) if stage not in attention}
    for name, parameter in generator.named_parameters():
        assert parameter.requires_grad == (name.partition(".")[0] not in unused), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_a_panorama_does_not_depend_on_its_company(pair):
    generator = Generator(TINY).eval()
    with torch.inference_mode():
        together = generator(*pair).image
        turned = generator(*(pictures.flip(0) for pictures in pair)).image
        alone = generator(*(pictures[[0, 0]] for pictures in pair)).image
    assert torch.equal(turned.flip(0), together)
    assert torch.equal(alone[0], together[0])
    assert torch.equal(alone[1], together[0])
