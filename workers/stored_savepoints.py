"""Savepoints in S3: what the next execution of a step goes on from, on whatever worker.

A savepoint is a manifest and the parts that it names. Every execution writes under its fence, so
that one which has lost its lease overwrites nothing; parts that it found it does not write again.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared import logs
from shared.errors import NotFound, StorageCorrupt
from shared.object_store import ObjectStore
from workers.savepoints import Savepoint, Savepoints

log = logs.get(__name__)


class Part(BaseModel):
    """A file of a savepoint, under its name, and the object that holds it."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^\w[\w.-]*$")
    key: str
    sha256: str
    bytes: int


class Manifest(BaseModel):
    """A savepoint. Only the model's revision that made it can go on from it."""

    model_config = ConfigDict(frozen=True)

    parts: tuple[Part, ...]
    revision: str
    batch_class: int
    progress: float


class StoredSavepoints:
    """The savepoints of a step, as the execution under one fence finds and makes them.

    Every method raises StorageUnavailable.
    """

    def __init__(self, store: ObjectStore, folder: str, fence: int, revision: str) -> None:
        """`folder` is the step's `savepoint_folder`, `revision` the model's."""
        self._store = store
        self._folder = folder
        self._fence = fence
        self._revision = revision
        self._parts: dict[tuple[Any, ...], Part] = {}  # by the file that each is a copy of
        self._keys: set[str] = set()  # of the last savepoint

    def restore(self, savepoints: Savepoints) -> Savepoint | None:
        """Fetch the newest whole savepoint, if there is one. Raises OSError."""
        keys = (entry.key for entry in self._store.list(self._folder))
        for key in sorted(filter(_is_manifest, keys), key=_fence, reverse=True):
            try:
                manifest = Manifest.model_validate_json(self._store.get(key))
                if manifest.revision != self._revision:
                    log.info("a savepoint of another model", key=key, revision=manifest.revision)
                    continue
                with savepoints.new_folder() as folder:
                    for part in manifest.parts:
                        data = self._store.get(part.key, sha256=part.sha256, size=part.bytes)
                        (folder / part.name).write_bytes(data)
            except (NotFound, StorageCorrupt, ValueError) as error:
                log.warning("a savepoint is damaged", key=key, error=str(error))
                continue
            self._remember(key, manifest, folder)
            savepoints.newest = Savepoint(folder, manifest.progress, manifest.batch_class)
            return savepoints.newest
        return None

    def save(self, savepoint: Savepoint, wanted: Callable[[], bool]) -> bool:
        """Store a savepoint and erase what it stands for; whether that was done.

        It is not where a later execution is at work, nor once it is not `wanted` any more. Raises
        OSError.
        """
        there = {entry.key for entry in self._store.list(self._folder)}
        if max(map(_fence, there), default=0) > self._fence:
            return False
        parts = []
        for file in sorted(savepoint.folder.iterdir()):
            if not wanted():
                return False
            part = self._parts.get(_identity(file))
            parts.append(part if part and part.key in there else self._put(file))
        manifest = Manifest(
            parts=tuple(parts),
            revision=self._revision,
            batch_class=savepoint.batch_class,
            progress=savepoint.progress,
        )
        key = f"{self._folder}a{self._fence}.json"
        self._store.put(key, manifest.model_dump_json().encode(), "application/json")
        # Whoever reads the last one now shall find it whole: it goes with the next one.
        last = self._keys
        self._remember(key, manifest, savepoint.folder)
        self._store.delete(there - last - self._keys)
        return True

    def erase(self) -> None:
        """Remove all of them."""
        self._store.delete([entry.key for entry in self._store.list(self._folder)])

    def _put(self, file: Path) -> Part:
        data = file.read_bytes()
        part = Part(
            name=file.name,
            key=f"{self._folder}a{self._fence}-{file.name}",
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
        self._store.put(part.key, data, "application/octet-stream")
        self._parts[_identity(file)] = part  # even where the savepoint is not completed
        return part

    def _remember(self, key: str, manifest: Manifest, folder: Path) -> None:
        self._parts = {_identity(folder / part.name): part for part in manifest.parts}
        self._keys = {key, *(part.key for part in manifest.parts)}


def _identity(file: Path) -> tuple[Any, ...]:
    """The same for links to one file; a run that begins anew may give another one its name."""
    found = file.stat()
    return file.name, found.st_ino, found.st_size, found.st_mtime_ns


def _is_manifest(key: str) -> bool:
    return re.search(r"/a\d+\.json$", key) is not None


def _fence(key: str) -> int:
    """Of the execution that wrote the object."""
    found = re.search(r"/a(\d+)[.-][^/]+$", key)
    return int(found[1]) if found else 0
