"""FID's Inception v3: its tensors, what it computes, and which files are taken for it."""

from pathlib import Path

import pytest
import torch

from shared.errors import ModelNotAvailable
from shared.models import NETWORK, Registry
from tests.formula import image
from workers.model_files import checkpoint
from workers.model_import import import_file
from workers.nets.inception import Inception, average
from workers.nets.weights import load, randomise

FILE = "pt_inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def network() -> Inception:
    network = Inception()
    randomise(network, 0)
    return network


def test_its_tensors_have_the_published_names_and_sizes() -> None:
    with torch.device("meta"):
        network = Inception()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(shapes) == 94 * 6 + 2  # convolutions, each with its norm's five, and the classifier
    # torchvision counts 27,161,264, of which 3,326,696 are its second classifier's.
    assert sum(each.numel() for each in network.parameters()) == 23_834_568 + 8 * (2048 + 1)
    expected = {
        "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_5d.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6a.branch3x3dbl_3.bn.running_var": (96,),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6e.branch7x7dbl_4.conv.weight": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
        "fc.weight": (1008, 2048),
    }
    assert shapes.items() >= expected.items()


def test_it_computes_what_torch_fidelity_does(network: Inception) -> None:
    """The values are those of torch-fidelity 0.4.0 with the same weights; some of each path."""
    pixels = torch.from_numpy(image(299, 299, 0.3) * 255).round().permute(2, 0, 1)[None].float()
    (found,) = network((pixels - 128) / 128)
    expected = {
        0: 0.025914,
        319: 0.003919,
        320: 0.370993,
        704: 0.106237,
        1088: 0.607347,
        1472: 0.027098,
        1856: 0.963949,
        2047: 0.502876,
    }
    assert [found[place].item() for place in expected] == pytest.approx([*expected.values()], 1e-3)
    assert found.shape == (2048,)
    assert found.mean().item() == pytest.approx(0.190292, 1e-3)


def test_an_average_leaves_out_the_padding() -> None:
    assert (average()(torch.ones(1, 1, 5, 5)) == 1).all()


def test_the_published_file_is_taken_and_torchvisions_is_not(
    network: Inception, tmp_path: Path
) -> None:
    published = {
        name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name
    }
    torch.save(published, tmp_path / FILE)
    import_file(tmp_path / FILE, "inception", None, tmp_path, say=lambda line: None)
    inception = Registry.load(tmp_path).models[NETWORK, "inception"]
    assert inception.file == FILE
    again = Inception()
    load(again, checkpoint(inception, tmp_path).path)
    assert all(torch.equal(again.state_dict()[name], each) for name, each in published.items())
    other = {**published, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save(other, tmp_path / "inception_v3_google-0cc3c7bd.pth")
    with pytest.raises(ModelNotAvailable, match=r"fc.weight is \(1000, 2048\), not \(1008, 2048\)"):
        import_file(
            tmp_path / "inception_v3_google-0cc3c7bd.pth", "inception", None, tmp_path, say=print
        )
