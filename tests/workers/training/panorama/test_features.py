from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import interpolate

from workers.nets import weights
from workers.nets.inception import Inception
from workers.nets.vgg import Vgg
from workers.training.panorama.features import features, published, stand_in
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import tensor

LANDSCAPES = Landscapes(range(3), 32)
PICTURES = tensor([LANDSCAPES.crop(number) for number in range(3)])


def test_the_published_ones_are_of_the_stretched_picture_from_minus_one_to_one() -> None:
    network = Inception()
    weights.randomise(network, 0)
    found = published(network).of(PICTURES[:1])
    stretched = interpolate(PICTURES[:1], (299, 299), mode="bilinear")
    assert torch.equal(found, network(stretched * 2 - 1))
    assert found.shape == (1, 2048)


def test_the_stand_ins_are_means_over_the_picture() -> None:
    network = Vgg(16)
    weights.randomise(network, 0)
    found = stand_in(network).of(PICTURES)
    assert found.shape == (3, 512)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    [seen] = network((PICTURES - mean) / deviation, [29])
    torch.testing.assert_close(found, seen.flatten(2).mean(-1))


def test_the_published_ones_are_taken_where_they_are(tmp_path: Path) -> None:
    folders = {}
    for name, network in (("vgg16", Vgg(16)), ("inception", Inception())):
        weights.randomise(network, 0)
        folders[name] = tmp_path / name
        folders[name].mkdir()
        save_file(network.state_dict(), folders[name] / "model.safetensors")
    chosen = features(folders, "cpu")
    assert chosen.name.startswith("Inception v3")
    assert chosen.of(PICTURES[:1]).shape == (1, 2048)
    del folders["inception"]
    chosen = features(folders, "cpu")
    assert "to compare with one another only" in chosen.name
    assert chosen.of(PICTURES).shape == (3, 512)
