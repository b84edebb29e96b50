"""What may be loaded: weights in safetensors, by the code of the installed libraries alone.

Pickled weights run code when they are read, and a checkpoint's own Python files run it anyway.
Free of torch.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.errors import ModelNotAvailable

CONFIG, INDEX = "config.json", "model_index.json"
PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


def check(folder: Path) -> None:
    """Look at a model, or at every component of a pipeline, before a library does.

    Raises ModelNotAvailable where there is no checkpoint, where its weights are not in
    safetensors, and where it wants code of its own to be run.
    """
    if (folder / INDEX).is_file():
        components = list(_components(folder))
        for component in components:
            _check_code(component)
            _check_weights(component)
        if not any(_safe(component) for component in components):
            raise ModelNotAvailable(f"{folder} holds no weights: no component has safetensors")
    elif (folder / CONFIG).is_file():
        _check_code(folder)
        _check_weights(folder)
        if not _safe(folder):
            raise ModelNotAvailable(f"{folder} holds no weights: no safetensors")
    else:
        raise ModelNotAvailable(f"{folder} holds no checkpoint: no {CONFIG} and no {INDEX}")


def _components(folder: Path) -> Iterator[Path]:
    """The folders of a pipeline's components; an absent one is left to the library."""
    index = read_json(folder / INDEX)
    if isinstance(index.get("_class_name"), list):  # [file, class]: how a pipeline names its own
        raise ModelNotAvailable(f"{folder} wants its own code to be run (its pipeline class)")
    for name, kind in index.items():
        if name.startswith("_") or not isinstance(kind, list) or not kind[0]:
            continue
        if (folder / name / f"{kind[0]}.py").is_file():
            raise ModelNotAvailable(f"{folder} wants its own code to be run ({name})")
        if (folder / name).is_dir():
            yield folder / name


def _check_code(folder: Path) -> None:
    if (folder / CONFIG).is_file() and "auto_map" in read_json(folder / CONFIG):
        raise ModelNotAvailable(f"{folder} wants its own code to be run (auto_map in {CONFIG})")


def _check_weights(folder: Path) -> None:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled and not _safe(folder):
        raise ModelNotAvailable(
            f"{folder} holds pickled weights alone ({pickled[0]}); only safetensors are loaded"
        )


def _safe(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def read_json(file: Path) -> Mapping[str, Any]:
    """A configuration file of a checkpoint. Raises ModelNotAvailable."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelNotAvailable(f"{file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ModelNotAvailable(f"{file} cannot be read: it is no JSON object")
    return content
