"""Where the objects lie that a source is read from."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from api import uploads
from api.services import Services
from shared.batches import BatchRecord
from shared.errors import NotFound
from shared.object_store import StoredObject
from shared.ranged_file import RangedFile

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Stored:
    """An object that is there; `bucket` is empty for the service's own."""

    reference: str
    key: str
    bytes: int
    bucket: str = ""


@dataclass(frozen=True)
class Origin:
    """The batch whose source is read, and the store that it is read from."""

    services: Services
    batch: BatchRecord

    def find(self, reference: str) -> Stored:
        """`file_…` or `s3://bucket/key`. Raises NotFound, InvalidRequest."""
        if reference.startswith("file_"):
            key, _, size = self.services.ledger.file_key(
                reference
            )  # if deleted, kept for the batch
            return Stored(reference, key, size)
        bucket, key = uploads.place(self.services, reference, "/source")
        try:
            head = self.services.store.head(key, bucket)
        except NotFound:
            raise _nothing(reference) from None
        return Stored(reference, key, head.bytes, bucket)

    def list(self, folder: str) -> Iterator[tuple[str, StoredObject]]:
        """What lies below `s3://bucket/folder/`: each with its path there. Raises NotFound,
        InvalidRequest."""
        bucket, prefix = uploads.place(self.services, folder, "/source")
        try:
            for entry in self.services.store.list(prefix, bucket=bucket):
                path = entry.key.removeprefix(prefix)
                if path and not path.endswith("/"):
                    yield path, entry
        except NotFound:
            raise _nothing(folder) from None

    def stream(self, stored: Stored) -> Iterator[bytes]:
        return self.services.store.stream(stored.key, stored.bucket)

    def begin(self, stored: Stored, size: int) -> bytes:
        """Its first bytes."""
        if not stored.bytes:
            return b""
        return self.services.store.read_range(stored.key, 0, size, stored.bucket)

    def open(self, stored: Stored) -> RangedFile:
        read = partial(self.services.store.read_range, stored.key, bucket=stored.bucket)
        return RangedFile(read, stored.bytes)


def is_picture(path: str) -> bool:
    """By its name; what a system leaves in every folder and archive is none."""
    parts = path.split("/")
    hidden = "__MACOSX" in parts or parts[-1].startswith(".")
    return path.lower().endswith(PICTURES) and not hidden


def _nothing(reference: str) -> NotFound:
    return NotFound(f"{reference} is not there or may not be read")
