from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.errors import ModelNotAvailable
from workers.nets import weights
from workers.nets.lpips import TAPS, Heads
from workers.nets.vgg import Vgg
from workers.training.panorama.pairing import distance, neighbours
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import tensor

PICTURES = Landscapes(range(7), 32)


@pytest.fixture(scope="module")
def network() -> Vgg:
    vgg = Vgg(16, last=29)
    weights.randomise(vgg, 0)
    return vgg


def published(folder: Path) -> list[Tensor]:
    """A file as LPIPS v0.1 has it is written into the folder; what is in it, by tap."""
    generator = torch.Generator().manual_seed(0)
    heads = [torch.rand(1, channels, 1, 1, generator=generator) for channels in TAPS.values()]
    names = [f"lin{number}.model.1.weight" for number in range(5)]
    torch.save(dict(zip(names, heads, strict=True)), folder / "vgg.pth")
    return heads


def plain(network: Vgg, one: Tensor, other: Tensor, heads: list[Tensor]) -> float:
    """LPIPS of two pictures as the paper writes it."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    total = 0.0
    features = (network((each - mean) / deviation, list(TAPS)) for each in (one, other))
    for ours, theirs, head in zip(*features, heads, strict=True):
        ours, theirs = (each / each.norm(dim=1, keepdim=True) for each in (ours, theirs))
        total += ((ours - theirs) ** 2 * head).sum(1).mean().item()
    return total


@pytest.mark.parametrize("block", [3, 256])
def test_every_pair_has_the_paper_s_distance(network: Vgg, tmp_path: Path, block: int) -> None:
    of_channels = published(tmp_path)
    measure = distance(network, tmp_path)
    found = measure.matrix(PICTURES, block)
    crops = [tensor([PICTURES.crop(number)]) for number in range(len(PICTURES))]
    for i, j in [(0, 1), (6, 2), (3, 5)]:
        expected = plain(network, crops[i], crops[j], of_channels)
        assert found[i, j].item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(found, found.T, atol=1e-4, rtol=0)
    assert (found.diag() == 1).all()
    assert measure.name == "LPIPS v0.1, VGG16"


def test_without_published_weights_all_channels_count_alike(network: Vgg) -> None:
    alike = distance(network)
    crops = [tensor([PICTURES.crop(number)]) for number in (0, 1)]
    one, other = (alike.embedded(crop) for crop in crops)
    expected = plain(network, *crops, [torch.ones(1, 1, 1, 1)] * len(TAPS))
    assert ((one - other) ** 2).sum().item() == pytest.approx(expected, rel=1e-4)
    assert "alike" in alike.name


def test_neighbours_are_the_three_nearest_others() -> None:
    places = np.array([0.0, 0.1, 0.25, 0.45, 0.9])
    matrix = torch.tensor(np.abs(places[:, None] - places)).fill_diagonal_(1)
    assert neighbours(matrix).tolist() == [
        [1, 2, 3], [0, 2, 3], [1, 3, 0], [2, 1, 0], [3, 2, 1]
    ]  # fmt: skip
    assert neighbours(matrix[:3, :3]).tolist() == [[1, 2], [0, 2], [1, 0]]


def test_weights_that_no_distance_has_are_refused(network: Vgg, tmp_path: Path) -> None:
    heads = Heads()
    torch.save(
        heads.state_dict() | {"lin0.model.1.weight": -torch.ones(1, 64, 1, 1)}, tmp_path / "vgg.pth"
    )
    with pytest.raises(ModelNotAvailable, match="less than 0"):
        distance(network, tmp_path)
