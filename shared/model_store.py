"""The models on this machine: where their files are, and which state of them is meant.

MODELS_DIR holds `hub/ORG--NAME/COMMIT/`, one folder per pulled repository and commit, and
`models.lock.json`, which says the commit of each and the digest of every file.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from shared.contracts import Frozen
from shared.errors import ModelNotAvailable, SettingsError
from shared.models import Model

CHECKPOINTS = Path(__file__).parents[1] / "workers" / "checkpoints"
LOCK_FILE = "models.lock.json"


class ModelState(StrEnum):
    """Where a model's files are."""

    SHIPPED = "shipped"  # with the project, or with a package that is installed
    PULLED = "pulled"  # fetched into MODELS_DIR, or in a folder of the user's own
    TRAINED = "trained"  # in S3, from where a worker fetches them when a job names it
    MISSING = "missing"


class LockedFile(Frozen):
    """A file as it was pulled; `size` in bytes."""

    sha256: str
    size: int


class LockedModel(Frozen):
    """A repository at one commit; `files` by their path within it.

    Of what was imported instead, the commit is the digest of the file that it was made of, and
    `imported` is that file's name.
    """

    commit: str
    files: dict[str, LockedFile]
    imported: str | None = None


class Lock(Frozen):
    """`models.lock.json`; `models` by `repository@revision`."""

    models: dict[str, LockedModel] = Field(default_factory=dict)

    def with_model(self, model: Model, locked: LockedModel) -> "Lock":
        return Lock(models={**self.models, lock_key(model): locked})

    @classmethod
    def read(cls, models_dir: Path) -> "Lock":
        """The lock, empty where nothing was pulled. Raises SettingsError where it is damaged."""
        file = models_dir / LOCK_FILE
        if not file.is_file():
            return cls()
        try:
            return cls.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise SettingsError(f"{file}: {error}") from None

    def write(self, models_dir: Path) -> None:
        """Replace the file in one move: a reader sees the old or the new one."""
        draft = models_dir / f".{LOCK_FILE}.{os.getpid()}"
        text = json.dumps(self.model_dump(), indent=1, sort_keys=True)
        with draft.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(models_dir / LOCK_FILE)


@contextmanager
def exclusive(models_dir: Path) -> Iterator[None]:
    """Hold MODELS_DIR against other pulls; waits for theirs to end."""
    models_dir.mkdir(parents=True, exist_ok=True)
    with (models_dir / f".{LOCK_FILE}.held").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_key(model: Model) -> str:
    return f"{_origin(model)}@{model.revision}"


def pulled_folder(model: Model, commit: str, models_dir: Path) -> Path:
    return models_dir / "hub" / _origin(model).replace("/", "--") / commit


def is_locked(model: Model) -> bool:
    """Whether its files lie in MODELS_DIR at a commit: pulled from a repository, or imported."""
    return bool(model.repo or model.file)


def _origin(model: Model) -> str:
    """The repository; or what stands for one, where a model's file was imported."""
    return model.repo or f"{model.family}/{model.name}"


def parts(model: Model) -> list[Model]:
    """What has a folder of its own: the networks that a model is put together from, or the model
    itself and the later stages of a cascade as models of their own.

    A stage is named as the first one is: by its repository where that has one, else its folder.
    """
    if model.made_of:
        return list(model.made_of)
    own = "repo" if model.repo else "path"
    stages = [model.model_copy(update={own: stage, "stages": ()}) for stage in model.stages]
    return [model.model_copy(update={"stages": ()}), *stages]


def folder(model: Model, models_dir: Path, lock: Lock) -> Path:
    """The one folder of a model without later stages and networks.

    Raises ModelNotAvailable with what would bring it here.
    """
    if not is_locked(model):
        if model.package:
            return _of_package(model, model.package, models_dir)
        found = CHECKPOINTS / (model.path or model.name)  # an absolute path stands for itself
        if not found.is_dir():
            raise ModelNotAvailable(f"{model.family} {model.name}: there is no folder {found}")
        return found
    action = f"import {model.file} --as" if model.file else "pull"
    fetch = f"python -m workers models {action} {model.name}"
    locked = lock.models.get(lock_key(model))
    if locked is None:
        raise ModelNotAvailable(f"{model.family} {model.name} is not here; fetch it with: {fetch}")
    found = pulled_folder(model, locked.commit, models_dir)
    for name, file in locked.files.items():
        path = found / name
        if not path.is_file() or path.stat().st_size != file.size:
            raise ModelNotAvailable(f"{path} is missing or damaged; mend it with: {fetch}")
    return found


def _of_package(model: Model, package: str, models_dir: Path) -> Path:
    """The package itself, or the folder with the weights that it has fetched."""
    inside = package_folder(package)
    if not model.weights:
        return inside
    found = models_dir / model.name
    if not found.is_dir():
        raise ModelNotAvailable(
            f"{model.family} {model.name} is not here; fetch it with: "
            f"python -m workers models pull {model.name}"
        )
    return found


def package_folder(package: str) -> Path:
    """Where an installed Python package is. Raises ModelNotAvailable."""
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:  # of the package that it lies in
        found = None
    if found is None or not found.submodule_search_locations:
        raise ModelNotAvailable(f"the Python package {package} is not installed")
    return Path(found.submodule_search_locations[0])


def state(model: Model, models_dir: Path, lock: Lock) -> ModelState:
    """Whether all of the model's files are here."""
    try:
        shipped = [
            folder(part, models_dir, lock).is_relative_to(CHECKPOINTS)
            or (part.package is not None and part.weights is None)
            for part in parts(model)
        ]
    except ModelNotAvailable:
        return ModelState.MISSING
    return ModelState.SHIPPED if all(shipped) else ModelState.PULLED


def folder_digest(folder: Path) -> str:
    """`sha256:` and 16 hex digits over a folder's sorted file names and bytes.

    Hidden files and folders do not count.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(name.as_posix().encode() + b"\0" + bytes.fromhex(file_sha256(path)))
    return f"sha256:{digest.hexdigest()[:16]}"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
