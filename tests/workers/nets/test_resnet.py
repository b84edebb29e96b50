"""ResNet50: its tensors, its taps, and its two kinds of norm."""

import pytest
import torch
from torch import nn

from tests.formula import formula_weights, image
from workers.nets.resnet import TAPS, ResNet50
from workers.nets.weights import randomise


def pictures(count: int) -> torch.Tensor:
    rows = [torch.from_numpy(image(64, 64, place)).permute(2, 0, 1) for place in range(count)]
    return 255 * torch.stack(rows).float()


def test_its_tensors_have_the_published_names_in_order_and_size() -> None:
    with torch.device("meta"):
        network = ResNet50()
    names = list(network.state_dict())
    assert len(names) == 318
    assert sum(parameter.numel() for parameter in network.parameters()) == 23_508_032
    assert names[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    first = [name.removeprefix("layer1.0.") for name in names if name.startswith("layer1.0.")]
    kinds = list(dict.fromkeys(name.rpartition(".")[0] for name in first))
    assert kinds == ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample.0", "downsample.1"]
    assert network.layer2[0].conv1.stride == (1, 1)
    assert network.layer2[0].conv2.stride == (2, 2)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_taps_come_in_the_order_asked_and_nothing_past_them_is_computed() -> None:
    network = ResNet50()
    formula_weights(network)
    seen = []
    for name in TAPS:
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    second, stem = network(pictures(1), ["layer2", "maxpool"])
    assert seen == ["maxpool", "layer1", "layer2"]
    assert second.shape == (1, 512, 8, 8)
    assert stem.shape == (1, 64, 16, 16)


def test_batch_statistics_are_those_of_training_for_one_sample() -> None:
    network, trained = ResNet50(batch_statistics=True), ResNet50()
    randomise(network, seed=0)
    trained.load_state_dict(network.state_dict())
    trained.train()
    for found, expected in zip(network(pictures(1), TAPS), trained(pictures(1), TAPS), strict=True):
        assert torch.equal(found, expected)


def test_a_samples_statistics_are_its_own() -> None:
    norm = ResNet50(batch_statistics=True).layer1[0].bn3
    nn.init.uniform_(norm.weight)
    x = torch.randn(4, 256, 5, 3, generator=torch.Generator().manual_seed(0))
    together = norm(x)
    for place in range(4):
        assert torch.equal(together[place], norm(x[place : place + 1])[0])


def test_batch_statistics_need_more_than_one_value() -> None:
    network = ResNet50(batch_statistics=True)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        network(pictures(1)[..., :32, :32], ["layer4"])
