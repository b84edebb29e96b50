"""Files that are downloaded whole or not at all."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from uuid import uuid4

from imagemill.errors import ImagemillError, IntegrityError
from imagemill.transport import Transport


def save(transport: Transport, address: str, path: Path, sha256: str, name: str) -> None:
    """Downloads to `path`, unless these bytes lie there already.

    Raises IntegrityError, about `name`, where the bytes are others than recorded.
    """
    if is_there(path, sha256):
        return
    with replacing(path) as file:
        transport.fetch(address, file)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            raise IntegrityError(f"{name} has the SHA-256 {digest}, not the recorded {sha256}")


def is_there(path: Path, sha256: str) -> bool:
    """Whether a file of these bytes lies there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


@contextmanager
def replacing(path: Path) -> Iterator[BufferedRandom]:
    """A new file that takes the place of `path` in the end, unless something was raised."""
    part = path.parent / f".{uuid4().hex}.part"
    try:
        with part.open("w+b") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def safe_name(name: str, owner: str) -> str:
    """The name itself. Raises ImagemillError where it might lead out of its folder."""
    if not name.strip(".") or set(name) & set("/\\\0"):
        raise ImagemillError(f"{owner} has a file of the unsafe name {name!r}")
    return name
