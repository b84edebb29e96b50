"""Where a model's files are, and which state of them is loaded.

MODELS_DIR holds `hub/ORG--NAME/COMMIT/`, one folder per pulled repository and commit, and
`models.lock.json`, which says the commit of each and the digest of every file.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from shared.contracts import Frozen
from shared.errors import ModelNotAvailable, SettingsError
from shared.models import Model, Registry
from workers.predictor import Checkpoint

CHECKPOINTS = Path(__file__).with_name("checkpoints")
LOCK_FILE = "models.lock.json"


class LockedFile(Frozen):
    """A file as it was pulled; `size` in bytes."""

    sha256: str
    size: int


class LockedModel(Frozen):
    """A repository at one commit; `files` by their path within it."""

    commit: str
    files: dict[str, LockedFile]


class Lock(Frozen):
    """`models.lock.json`; `models` by `repository@revision`."""

    models: dict[str, LockedModel] = Field(default_factory=dict)

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
    return f"{model.repo}@{model.revision}"


def pulled_folder(model: Model, commit: str, models_dir: Path) -> Path:
    assert model.repo
    return models_dir / "hub" / model.repo.replace("/", "--") / commit


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


def checkpoint(model: Model, models_dir: Path) -> Checkpoint:
    """The files to load. Raises ModelNotAvailable with the command that fetches them."""
    if model.repo is None:
        folder = CHECKPOINTS / (model.path or model.name)  # an absolute path stands for itself
        if not folder.is_dir():
            raise ModelNotAvailable(f"{model.family} {model.name}: there is no folder {folder}")
        return Checkpoint(model.name, folder, folder_digest(folder))
    fetch = f"python -m workers models pull {model.name}"
    locked = Lock.read(models_dir).models.get(lock_key(model))
    if locked is None:
        raise ModelNotAvailable(f"{model.family} {model.name} is not here; fetch it with: {fetch}")
    folder = pulled_folder(model, locked.commit, models_dir)
    for name, file in locked.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file.size:
            raise ModelNotAvailable(f"{path} is missing or damaged; mend it with: {fetch}")
    return Checkpoint(model.name, folder, locked.commit)


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
