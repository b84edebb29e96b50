"""VGG: which layers there are, and what a tap sees."""

import pytest
import torch
from torch.nn import functional

from tests.formula import formula_weights, image
from workers.nets.vgg import Vgg


def picture(side: int = 32) -> torch.Tensor:
    return torch.from_numpy(image(side, side, 0.0)).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(("depth", "parameters"), [(16, 14_714_688), (19, 20_024_384)])
def test_the_convolutions_have_the_published_names_and_size(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        network = Vgg(depth)
    state = network.state_dict()
    assert len(network.convolutions()) == depth - 3
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    assert list(state)[:3] == ["features.0.weight", "features.0.bias", "features.2.weight"]


def test_only_the_layers_up_to_the_last_are_built_and_they_are_frozen() -> None:
    network = Vgg(16, last=8)
    assert len(network.features) == 9
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_tap_is_what_its_layer_made_whatever_comes_after() -> None:
    """Also a convolution, over which the next layer would write, and in any order."""
    network = Vgg(16, last=9)
    formula_weights(network)
    pool, before, after = network(picture(), [9, 2, 3])
    x = picture()
    for place in (0, 2):
        x = functional.conv2d(
            x, network.features[place].weight, network.features[place].bias, padding=1
        )
        convolved, x = x, x.relu()
    assert torch.equal(before, convolved)
    assert torch.equal(after, x)
    assert pool.shape == (1, 128, 8, 8)


def test_nothing_is_computed_past_the_last_tap() -> None:
    network = Vgg(16)
    formula_weights(network)
    seen = []
    for place, layer in enumerate(network.features):
        layer.register_forward_hook(lambda *_, place=place: seen.append(place))
    network(picture(), [3, 8])
    assert seen == list(range(9))


def test_gradients_reach_the_picture_through_every_tap() -> None:
    network = Vgg(16, last=9).double()
    formula_weights(network)
    x = picture(8).double().requires_grad_()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return sum(tap.square().mean() for tap in network(x, [2, 3, 9]))

    (slope,) = torch.autograd.grad(loss(x), x)
    along = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    step = 1e-6 * along
    difference = (loss(x + step) - loss(x - step)) / 2e-6
    assert torch.isclose((slope * along).sum(), difference, rtol=1e-6)
