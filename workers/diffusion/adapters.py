"""LoRA files of a pipeline: loaded at first use, switched on for one batch, and off again.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from torch.nn import Module

from shared.errors import PredictionFailed
from workers.resources import exhaustion

KEPT = 4  # adapters in memory, switched off; the longest unused one goes first
USUAL_NAME = "pytorch_lora_weights.safetensors"
DOWN = re.compile(r"lora.*(_A|[._]down)\.(.*\.)?weight$")  # of PEFT; of diffusers and Kohya


class Adapters:
    """The adapters of one pipeline; those that share its components are changed with it."""

    def __init__(self, model: str, pipe: Any, files: Mapping[str, Path]) -> None:
        self._model = model
        self._pipe = pipe
        self._files = files
        # Name → the library's name, which may hold no dot; the last used comes last.
        self._loaded: dict[str, str] = {}
        self._number = 0

    @contextmanager
    def active(self, loras: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        """The pipeline with these adapters, each {"name": str, "scale": float}, 1 = as trained.

        Afterwards it draws as before, to the byte. Raises PredictionFailed where a LoRA is not
        known, is named twice, cannot be read or does not fit the model.
        """
        if not loras:
            yield
            return
        names = [lora["name"] for lora in loras]
        if len(set(names)) < len(names):
            raise PredictionFailed(f"a LoRA is named twice: {', '.join(names)}")
        if not hasattr(self._pipe, "load_lora_weights"):
            raise PredictionFailed(f"{self._model} takes no LoRA")
        try:
            chosen = [self._load(name) for name in names]
            self._pipe.enable_lora()
            self._pipe.set_adapters(chosen, [float(lora.get("scale", 1.0)) for lora in loras])
            yield
        finally:
            self._pipe.disable_lora()
            for name in list(self._loaded)[:-KEPT]:
                self._pipe.delete_adapters(self._loaded.pop(name))

    def _load(self, name: str) -> str:
        """Load a LoRA unless it is here; the library's name of it."""
        if name in self._loaded:
            self._loaded[name] = self._loaded.pop(name)
            return self._loaded[name]
        if name not in self._files:
            raise PredictionFailed(f"{self._model} has no LoRA of the name {name}")
        file = safetensors_file(name, self._files[name])
        self._number += 1
        adapter = f"adapter{self._number}"
        try:
            self._pipe.load_lora_weights(
                str(file.parent),
                weight_name=file.name,
                adapter_name=adapter,
                use_safetensors=True,
                local_files_only=True,
            )
            if self._layers(adapter) < max(1, matrices(file)):
                raise ValueError("it has matrices for layers that this model has not")
        except Exception as error:  # the library's converters raise whatever they stumble over
            self._pipe.delete_adapters(adapter)
            if exhaustion(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if "size mismatch" in str(error):
                reason = "its matrices have other sizes than the layers of this model"
            raise PredictionFailed(f"LoRA {name} does not fit {self._model}: {reason}") from error
        self._loaded[name] = adapter
        return adapter

    def _layers(self, adapter: str) -> int:
        """The layers of the model that an adapter changes."""
        parts = (part for part in self._pipe.components.values() if isinstance(part, Module))
        modules = (module for part in parts for module in part.modules())
        return sum(isinstance(each, LoraLayer) and adapter in each.lora_A for each in modules)


def safetensors_file(name: str, path: Path) -> Path:
    """The weights of a LoRA: the file itself, or the one in a folder. Raises PredictionFailed."""
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    usual = [file for file in found if file.name == USUAL_NAME]
    if len(found) != 1 and not usual:
        raise PredictionFailed(f"LoRA {name}: {len(found)} safetensors files in {path}, not one")
    file = (usual or found)[0]
    try:
        with safe_open(file, "pt"):
            return file
    except (OSError, SafetensorError) as error:
        raise PredictionFailed(f"LoRA {name}: {file.name} is no safetensors file") from error


def matrices(file: Path) -> int:
    """The down projections in a LoRA file, whoever named them; a converter may split some."""
    with safe_open(file, "pt") as weights:
        return sum(bool(DOWN.search(key)) for key in weights.keys())  # noqa: SIM118
