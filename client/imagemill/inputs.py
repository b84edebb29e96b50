"""Which of a job's arguments are local files, to be sent beside the JSON."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import IO, Any

from imagemill.errors import InvalidInput

# Where a plain string may be a path. In other fields, and in kinds that are newer than this
# client, a file is a `Path`, bytes or a file object.
FILE_FIELDS = {
    "caption": ("image",),
    "vqa": ("image",),
    "ocr": ("image",),
    "reimagine": ("image",),
    "blend": ("first", "second", "mask"),
    "composite": ("source", "mask", "target"),
    "panorama": ("left", "right"),
    "panorama_training": ("dataset",),
    "panorama_evaluation": ("dataset",),
}
REFERENCE = re.compile(r"file_[0-9A-Za-z]+\Z|data:|s3://|https?://")


@dataclass(frozen=True)
class Upload:
    """A file to send as the multipart part `field`; opened anew for every attempt."""

    field: str
    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """In bytes. Raises InvalidInput."""
        with self.open() as file:
            return file.seek(0, SEEK_END)

    def open(self) -> IO[bytes]:
        """Its bytes, from the start. Raises InvalidInput."""
        if isinstance(self.source, bytes):
            return BytesIO(self.source)
        try:
            return self.source.open("rb")
        except OSError as error:
            raise InvalidInput(f"{self.field}: {self.source}: {error.strerror}") from None


def split_input(kind: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Upload]]:
    """The fields that go into the JSON, and the local files. Raises InvalidInput.

    None means that the service's default is wanted, and is left out.
    """
    fields: dict[str, Any] = {}
    uploads: list[Upload] = []
    for name, value in given.items():
        if name in FILE_FIELDS.get(kind, ()) and isinstance(value, str):
            value = value if REFERENCE.match(value) else Path(value)
        upload = as_upload(name, value)
        if upload:
            uploads.append(upload)
        elif value is not None:
            fields[name] = value
    return fields, uploads


def as_upload(field: str, value: Any) -> Upload | None:
    """The upload behind a path, bytes or a binary file object; None for any other value.

    Raises InvalidInput where the file cannot be read.
    """
    if isinstance(value, Path):
        upload = Upload(field, value.name, value)
        upload.open().close()
        return upload
    if isinstance(value, bytes | bytearray | memoryview):
        return Upload(field, field, bytes(value))
    if hasattr(value, "read"):
        content = value.read()
        if not isinstance(content, bytes):
            raise InvalidInput(f"{field}: the file is open as text, not in binary mode")
        return Upload(field, Path(str(getattr(value, "name", field))).name, content)
    return None
