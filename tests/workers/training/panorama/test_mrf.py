import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workers.nets.vgg import Vgg
from workers.training.panorama.mrf import Texture, id_mrf


def plain(generated: np.ndarray, target: np.ndarray) -> float:
    """The loss of one sample by the letter of the description, location by location."""
    height, width = target.shape[1:]
    places = [(y, x) for y in range(height) for x in range(width)]
    mean = target.mean(0)

    def unit(features: np.ndarray, y: int, x: int) -> np.ndarray:
        vector = features[:, y, x] - mean[y, x]
        return vector / np.sqrt((vector**2).sum())

    best = dict.fromkeys(places, 0.0)
    for place in places:
        distance = {
            patch: (1 - unit(target, *patch) @ unit(generated, *place)) / 2 for patch in places
        }
        least = min(distance.values())
        likeness = {
            patch: math.exp((1 - distance[patch] / (least + 1e-5)) / 0.5) for patch in places
        }
        total = sum(likeness.values())
        for patch in places:
            best[patch] = max(best[patch], likeness[patch] / total)
    return -math.log(sum(best.values()) / len(best))


def features(seed: int, samples: int = 2) -> Tensor:
    return torch.randn(samples, 6, 4, 5, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_description_by_the_letter() -> None:
    generated, target = features(0), features(1)
    expected = [plain(*pair) for pair in zip(generated.numpy(), target.numpy(), strict=True)]
    assert id_mrf(generated, target).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_chunks_change_neither_the_loss_nor_its_gradient(chunk: int) -> None:
    generated, target = features(0).requires_grad_(), features(1)
    whole, parts = id_mrf(generated, target), id_mrf(generated, target, chunk)
    (of_whole,) = torch.autograd.grad(whole.sum(), generated)
    (of_parts,) = torch.autograd.grad(parts.sum(), generated)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(of_parts, of_whole)


def test_textures_may_stand_elsewhere_but_must_all_be_there() -> None:
    target = features(1, samples=1)
    moved = target.flatten(2).flip(2).view_as(target)
    # Patches are unlike only where their own centre is taken off: make it the same everywhere.
    target, moved = (each - each.mean(1, keepdim=True) for each in (target, moved))
    one_only = target[..., :1, :1].expand_as(target)
    assert id_mrf(target, target).item() == pytest.approx(0, abs=1e-3)
    assert id_mrf(moved, target).item() == pytest.approx(0, abs=1e-3)
    assert id_mrf(one_only, target).item() > 1


def test_texture_weighs_its_taps_and_keeps_float32() -> None:
    network = Vgg(16, last=4)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.1, generator=generator)
    generated, target = torch.rand(2, 2, 3, 8, 8, generator=generator)
    texture = Texture(network, {1: 1.0, 3: 2.0})
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    ours, theirs = (network((x + 1) / 2 - mean, (1, 3)) for x in (generated, target))
    expected = id_mrf(ours[0], theirs[0]).sum() + 2 * id_mrf(ours[1], theirs[1]).sum()
    torch.testing.assert_close(texture(generated, target), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(texture(generated, target), expected)


def test_the_published_taps_are_relu3_1_and_relu4_1() -> None:
    for depth, taps in ((19, Texture.VGG19), (16, Texture.VGG16)):
        layers = Vgg(depth).features
        for tap, block in zip(taps, (3, 4), strict=True):
            before = layers[:tap]
            assert isinstance(layers[tap], nn.ReLU)
            assert sum(isinstance(layer, nn.MaxPool2d) for layer in before) == block - 1
            assert isinstance(layers[tap - 2], nn.MaxPool2d)
        assert list(taps.values()) == [1.0, 2.0]
