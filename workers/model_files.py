"""What a worker loads: a model of the registry, or a folder, as a checkpoint."""

import contextlib
import importlib.metadata
from pathlib import Path

from shared.errors import ModelNotAvailable
from shared.model_store import Lock, folder, folder_digest, is_locked, lock_key, parts
from shared.models import LORA, TRAINED, Model, Registry
from workers.predictor import Checkpoint


def resolve_model(registry: Registry, family: str, name: str) -> Model:
    """A model by its name in the registry, or by the path of a checkpoint folder.

    A folder's model has the folder's name. Raises ModelNotAvailable.
    """
    if model := registry.get(family, name):
        return model
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Model(name=folder.resolve().name, family=family, path=str(folder.resolve()))
    known = ", ".join(sorted(name for each, name in registry.models if each == family))
    raise ModelNotAvailable(f"{name} is no folder and no {family}; there are: {known}")


def checkpoint(model: Model, models_dir: Path, registry: Registry | None = None) -> Checkpoint:
    """The files to load, with the LoRAs of the registry that are here and may fit.

    What stands for trained models has no files: they come with each step. Raises
    ModelNotAvailable with the command that fetches what is missing.
    """
    if model.name == TRAINED:
        return Checkpoint(model.name, models_dir, "", memory_gb=model.memory_gb)
    lock = Lock.read(models_dir)
    folders = [folder(part, models_dir, lock) for part in parts(model)]
    revisions = [_revision(*each, lock) for each in zip(parts(model), folders, strict=True)]
    return Checkpoint(
        model.name,
        folders[0],
        "+".join(revisions),
        parts=tuple(folders[1:]),
        settings=model.settings,
        adapters=adapters(registry, model, models_dir, lock) if registry else {},
        networks=_networks(model, models_dir, lock),
        memory_gb=model.memory_gb,
    )


def _networks(model: Model, models_dir: Path, lock: Lock) -> dict[str, Path]:
    """The folders of a model's networks, and of the optional ones that are on this machine, by
    their architecture."""
    found = {each.base or each.name: folder(each, models_dir, lock) for each in model.made_of}
    for each in model.may_use:
        with contextlib.suppress(ModelNotAvailable):
            found[each.base or each.name] = folder(each, models_dir, lock)
    return found


def adapters(registry: Registry, model: Model, models_dir: Path, lock: Lock) -> dict[str, Path]:
    """The folders of the LoRAs that are on this machine, but for those of another architecture."""
    found = {}
    for lora in registry.models.values():
        if lora.family != LORA or (model.base and lora.base and lora.base != model.base):
            continue
        try:
            found[lora.name] = folder(lora, models_dir, lock)
        except ModelNotAvailable:
            continue
    return found


def _revision(model: Model, folder: Path, lock: Lock) -> str:
    """The commit of what was pulled, a package's version, a digest of a folder's files, or what
    a host calls it."""
    if model.instead_of:
        return str(model.settings.get("api_model", model.name))
    if is_locked(model):
        return lock.models[lock_key(model)].commit
    if model.package:
        return importlib.metadata.version(model.package.replace(".", "-"))
    return folder_digest(folder)
