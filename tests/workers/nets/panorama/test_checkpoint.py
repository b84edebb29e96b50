import json

import pytest
import torch
from safetensors.torch import load_file as tensors_of
from safetensors.torch import save_file

from shared.errors import ModelNotAvailable
from shared.models import Model
from workers.nets.panorama.checkpoint import convert, load, load_file, save
from workers.nets.panorama.config import TINY
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator

GENERATOR = Generator(TINY).eval()


@pytest.fixture
def folder(tmp_path):
    save(GENERATOR, tmp_path / "model")
    return tmp_path / "model"


def test_what_was_saved_draws_the_same(folder, pair):
    generator = load(Generator, folder)
    assert generator.config == TINY
    assert not generator.training
    with torch.inference_mode():
        assert torch.equal(generator(*pair).image, GENERATOR(*pair).image)
    frozen = [name for name, each in GENERATOR.named_parameters() if not each.requires_grad]
    assert frozen == [name for name, each in generator.named_parameters() if not each.requires_grad]


def test_half_precision_is_saved_as_single(tmp_path):
    save(Discriminator(TINY).half(), tmp_path)
    assert {tensor.dtype for tensor in tensors_of(tmp_path / "model.safetensors").values()} == {
        torch.float32
    }
    assert isinstance(load(Discriminator, tmp_path), Discriminator)


@pytest.mark.parametrize(("kind", "name"), [(Generator, "Gen"), (Discriminator, "Dis")])
def test_files_of_the_published_form_are_read(tmp_path, kind, name):
    network = kind(TINY)
    torch.save(network.state_dict(), tmp_path / name)
    read = load_file(kind, tmp_path / name, TINY)
    for name, tensor in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)


@pytest.mark.parametrize(
    "wrong",
    [
        {"SHC1.conv1.0.bias": None},
        {"feature_in.0.weight": torch.zeros(3, 3)},
        {"skip9.0.weight": torch.zeros(3)},
        {"BCT.output.0.bias": torch.full((TINY.content,), torch.nan)},
    ],
)
def test_a_wrong_tensor_is_named(folder, wrong):
    (name,) = wrong
    file = folder / "model.safetensors"
    tensors = tensors_of(file) | wrong
    save_file({key: value for key, value in tensors.items() if value is not None}, file)
    with pytest.raises(ModelNotAvailable, match=name):
        load(Generator, folder)


def test_a_pickle_with_code_is_refused(tmp_path):
    torch.save({"encoder": print}, tmp_path / "Gen")
    with pytest.raises(ModelNotAvailable, match="refused"):
        load_file(Generator, tmp_path / "Gen")


@pytest.mark.parametrize("change", [{"size": 128}, {"size": "64"}, {"depth": 3}])
def test_a_config_that_is_none_is_refused(folder, change):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelNotAvailable, match=r"config\.json"):
        load(Generator, folder)


def test_an_import_wants_the_full_generator(folder, tmp_path):
    target = tmp_path / "target.safetensors"
    with pytest.raises(ModelNotAvailable, match="is no tensor of a Generator"):
        convert(Model(name="scenery", family="panorama"), folder / "model.safetensors", target)
    assert not target.exists()
