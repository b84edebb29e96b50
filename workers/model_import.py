"""Taking in a file of weights that the user has, in place of a pull.

What is in the file is checked against what the registry says the model is, and written as
safetensors where a pull would have put it. The lock file then names the file it came from, whose
digest stands for the commit. Free of torch: a family's own module reads and checks its files.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError

from shared.errors import ModelNotAvailable
from shared.model_store import (
    Lock,
    LockedFile,
    LockedModel,
    exclusive,
    file_sha256,
    is_locked,
    pulled_folder,
)
from shared.models import NETWORK, Model, Registry
from workers.resources import exhaustion

WEIGHTS = "model.safetensors"
# The module of each family whose `convert(model, source, target)` makes safetensors of a file, and
# raises ModelNotAvailable where that is not the model's.
CONVERTERS: Mapping[str, str] = {
    NETWORK: "workers.nets.weights",
    "panorama": "workers.nets.panorama.checkpoint",
}


def import_file(
    file: Path,
    name: str,
    family: str | None,
    models_dir: Path,
    say: Callable[[str], None] = print,
) -> None:
    """Bring a file of weights into MODELS_DIR as the registry's model of this name.

    An earlier import or pull of the model is replaced in one move. `say` gets one line when it is
    done. Raises ModelNotAvailable, or DiskFull.
    """
    model = importable(Registry.load(models_dir), name, family)
    if not file.is_file():
        raise ModelNotAvailable(f"there is no file {file}")
    draft = models_dir / f".import.{os.getpid()}.safetensors"
    try:
        with exclusive(models_dir):
            importlib.import_module(CONVERTERS[model.family]).convert(model, file, draft)
            locked = _put(model, file, draft, models_dir)
            Lock.read(models_dir).with_model(model, locked).write(models_dir)
    except (OSError, SafetensorError) as error:
        raise exhaustion(error) or ModelNotAvailable(
            f"{file.name} could not be brought into {models_dir}: {error}"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    say(
        f"{model.family}/{model.name}: imported from {file.name}, "
        f"{locked.files[WEIGHTS].size / 1e6:.1f} MB, sha256 {locked.commit}"
    )


def importable(registry: Registry, name: str, family: str | None) -> Model:
    """The model of this name, and family where one is given. Raises ModelNotAvailable."""
    models = [
        each for each in registry.models.values() if each.family in CONVERTERS and is_locked(each)
    ]
    found = [each for each in models if each.name == name and family in (None, each.family)]
    if not found:
        known = ", ".join(f"{each.family}/{each.name}" for each in models)
        raise ModelNotAvailable(f"no model that takes a file is called {name}; there are: {known}")
    if len(found) > 1:
        families = ", ".join(each.family for each in found)
        raise ModelNotAvailable(f"several models are called {name}; add --family: {families}")
    return found[0]


def _put(model: Model, file: Path, draft: Path, models_dir: Path) -> LockedModel:
    """Move what was made of a file to where a pull would have put it; its entry in the lock."""
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    weights = LockedFile(sha256=file_sha256(draft), size=draft.stat().st_size)
    locked = LockedModel(commit=file_sha256(file), files={WEIGHTS: weights}, imported=file.name)
    folder = pulled_folder(model, locked.commit, models_dir)
    folder.mkdir(parents=True, exist_ok=True)
    draft.replace(folder / WEIGHTS)
    return locked
