"""What a step's model is given: its pictures decoded, and all that comes as files in folders."""

import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from PIL import Image

from shared.archives import members
from shared.contents import Contents
from shared.contracts import (
    DatasetInput,
    ImageInput,
    OutputFolder,
    Sample,
    Step,
    WeightsInput,
)
from shared.errors import InvalidRequest
from shared.images import decode
from shared.ledger import Ledger
from shared.object_store import ObjectStore
from shared.references import Reference
from shared.settings import Settings
from workers.scratch import Scratch

TRAINED_FOLDER = "trained"  # in MODELS_DIR: weights by their digests; it may be emptied any time
GB = 10**9

# A picture of MAX_PIXELS takes hundreds of megabytes while it is decoded.
_DECODING = BoundedSemaphore(2)


class StepInputs:
    """Of one request in one execution of a step; its folders are there until `close`.

    `patiently` makes a call of the store, again while that is away; it raises where the step
    must stop.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        store: ObjectStore,
        patiently: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._settings = settings
        self._store = store
        self._patiently = patiently
        self._contents = Contents(ledger, store, settings.max_upload_mb, patiently)
        self._pictures: dict[ImageInput, Image.Image] = {}
        self._scratch: Scratch | None = None
        self._numbers = itertools.count()

    def close(self) -> None:
        """Remove the folders."""
        if self._scratch:
            self._scratch.close()

    def fetch(self, step: Step, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """The samples' data as the model sees it; of a step with a trained model also its
        `weights`.

        Raises InvalidImage, InvalidArchive, InvalidRequest, NotFound, TooLarge, StorageCorrupt,
        OSError.
        """
        chosen = step.params.get("weights")
        weights = {"weights": WeightsInput.of(chosen)} if chosen else {}
        return [
            {name: self._value(item) for name, item in {**weights, **sample.data}.items()}
            for sample in samples
        ]

    def _value(self, item: Any) -> Any:
        match item:
            case ImageInput():
                return self._picture(item)
            case DatasetInput():
                return self._dataset(item.reference)
            case WeightsInput():
                return self._weights(item)
            case OutputFolder():
                return self._new_folder()
        return item

    def _picture(self, wanted: ImageInput) -> Image.Image:
        """The picture, decoded and resized, once for all samples."""
        if wanted not in self._pictures:
            data = self._contents.of(Reference.parse(wanted.reference))
            with _DECODING:
                self._pictures[wanted] = decode(
                    data, self._settings.max_pixels, wanted.size, wanted.longest, wanted.alpha
                )
        return self._pictures[wanted]

    def _dataset(self, reference: str) -> Path:
        """A folder with the files of an archive, or of those below a prefix, in their order.

        They are numbered: no name that somebody else chose is used.
        """
        folder = self._new_folder()
        if reference.startswith("s3://"):
            self._fetch_prefix(reference, folder)
            return folder
        archive = Reference(file_id=reference)
        for number, (_, content) in enumerate(members(self._contents.of(archive))):
            (folder / f"{number:06}").write_bytes(content)
        return folder

    def _fetch_prefix(self, reference: str, folder: Path) -> None:
        bucket, _, prefix = reference.removeprefix("s3://").partition("/")
        entries = self._patiently(lambda: list(self._store.list(prefix, bucket=bucket)))
        total, limit = sum(entry.bytes for entry in entries), self._settings.dataset_gb
        if total > limit * GB:
            raise InvalidRequest(
                f"{reference} holds {total / GB:.1f} GB, more than IMAGEMILL_DATASET_GB ({limit:g})"
            )
        for number, entry in enumerate(sorted(entries, key=lambda entry: entry.key)):
            get = partial(self._store.read, bucket, entry.key, entry.bytes)
            (folder / f"{number:06}").write_bytes(self._patiently(get))

    def _weights(self, wanted: WeightsInput) -> Path:
        """A folder with the files of a trained model, which other steps find there too."""
        digests = {name: file.sha256 for name, file in wanted.files.items()}
        name = sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:32]
        folder = self._settings.models_dir / TRAINED_FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in wanted.files.items():
            if (folder / name).is_file():
                continue
            data = self._patiently(
                partial(self._store.get, file.key, sha256=file.sha256, size=file.bytes)
            )
            # Two steps may do the same at once; whoever reads finds a file whole or not at all.
            draft = folder / f".{name}.{uuid.uuid4().hex}"
            draft.write_bytes(data)
            draft.replace(folder / name)
        return folder

    def _new_folder(self) -> Path:
        self._scratch = self._scratch or Scratch()
        folder = self._scratch.folder / str(next(self._numbers))
        folder.mkdir()
        return folder
