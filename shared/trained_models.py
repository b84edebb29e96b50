"""The models that training jobs made: in S3 under a name, until somebody removes them.

A model is its files and a `model.json`, written last. A file's key holds its digest, so that
nothing that a planned job relies on is ever overwritten.
"""

import contextlib
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pydantic import Field

from shared.contracts import Frozen, StoredFile, TrainedOutput
from shared.errors import NotFound
from shared.layout import MODELS, trained_folder
from shared.object_store import ObjectStore

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FAMILY = re.compile(r"[a-z_]+")
ABOUT = "model.json"


class TrainedModel(Frozen):
    """`about` is what its training tells: settings, pictures, errors."""

    family: str
    name: str
    job: str
    created_at: int  # ms since the epoch, S3's clock
    files: dict[str, StoredFile]
    about: dict[str, Any] = Field(default_factory=dict)


class TrainedModels:
    """Those in one bucket. Every method raises StorageUnavailable."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def get(self, family: str, name: str) -> TrainedModel:
        """Raises NotFound."""
        if not FAMILY.fullmatch(family) or not NAME.fullmatch(name):
            raise NotFound(f"no such trained model: {name}")
        return self._read(trained_folder(family, name) + ABOUT)

    def all(self) -> list[TrainedModel]:
        """By family and name."""
        found = []
        for key in sorted(entry.key for entry in self._store.list(MODELS)):
            if key.endswith(f"/{ABOUT}"):
                with contextlib.suppress(NotFound):  # somebody removes it now
                    found.append(self._read(key))
        return found

    def put_file(self, trained: TrainedOutput, file: str, data: bytes) -> StoredFile:
        """Store a file of a model that is to be registered."""
        digest = sha256(data).hexdigest()
        folder = trained_folder(trained.family, trained.name)
        stored = StoredFile(key=f"{folder}{digest[:16]}-{file}", sha256=digest, bytes=len(data))
        self._store.put(stored.key, data, "application/octet-stream")
        return stored

    def register(self, trained: TrainedOutput, job: str, files: Mapping[str, StoredFile]) -> None:
        """Let jobs name a model whose files are stored; a later one takes an earlier one's name."""
        model = TrainedModel(
            family=trained.family,
            name=trained.name,
            job=job,
            created_at=self._store.now(),
            files=dict(files),
            about=trained.about,
        )
        key = trained_folder(trained.family, trained.name) + ABOUT
        self._store.put(key, model.model_dump_json(indent=1).encode(), "application/json")

    def delete(self, family: str, name: str) -> None:
        """Remove a model. Raises NotFound where there is none."""
        self.get(family, name)
        folder = trained_folder(family, name)
        self._store.delete([folder + ABOUT])  # first: nobody shall find it half there
        self._store.delete([entry.key for entry in self._store.list(folder)])

    def _read(self, key: str) -> TrainedModel:
        return TrainedModel.model_validate_json(self._store.get(key))
