"""Generators and discriminators in files.

A folder of our own holds `config.json` and `model.safetensors`. What was published is one file of
`torch.save` for each network, called Gen and Dis.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file

from shared.errors import ModelNotAvailable
from shared.models import Model
from workers.nets.panorama.config import FULL, Config
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.nets.weights import fitting, read
from workers.weights import CONFIG, read_json

WEIGHTS = "model.safetensors"

Network = TypeVar("Network", Generator, Discriminator)


def save(
    network: Generator | Discriminator, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a network into a folder, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(asdict(network.config), indent=1) + "\n")
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def load(kind: type[Network], folder: Path) -> Network:
    """The network in a folder, in evaluation mode on the CPU; of full size without `config.json`.

    Raises ModelNotAvailable; about the weights it names the first tensor that is not as it must be.
    """
    file = folder / CONFIG
    return load_file(kind, folder / WEIGHTS, _config(file) if file.exists() else FULL)


def load_file(kind: type[Network], file: Path, config: Config = FULL) -> Network:
    """The network in one file, a published one or safetensors; otherwise as `load`."""
    with torch.device("meta"):  # its own first weights would only cost time
        network = kind(config)
    tensors = read(file)
    if unknown := [name for name in tensors if name not in network.state_dict()]:
        raise ModelNotAvailable(f"{file.name}: {unknown[0]} is no tensor of a {kind.__name__}")
    network.load_state_dict(fitting(network, tensors, file.name), assign=True)
    return network.eval()


def convert(model: Model, source: Path, target: Path) -> None:
    """Write the weights in a file as safetensors, once they are those of a generator of full size.

    Raises ModelNotAvailable as `load` does.
    """
    save_file(load_file(Generator, source).state_dict(), target, {"format": "pt"})


def _config(file: Path) -> Config:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read_json(file).items()
    }
    try:
        return Config(**fields)
    except (TypeError, ValueError) as error:
        raise ModelNotAvailable(f"{file}: {error}") from None
