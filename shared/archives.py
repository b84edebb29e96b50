"""Archives of pictures: zip, tar and tar.gz, read from untrusted bytes within limits.

Nothing is unpacked by its name, and whatever an honest archive of pictures does not hold is
refused: links, devices, names that lead elsewhere, and more bytes than pictures pack into.
"""

import gzip
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from shared.errors import InvalidArchive

MAX_FILES = 50_000
MAX_MEMBERS = 5_000_000  # of an archive that is only looked through
MAX_FILE_BYTES = 256 * 2**20
RATIO = 20  # all files against the archive: pictures are packed already
ALWAYS_BYTES = 64 * 2**20  # what a small archive may hold all the same

ZIP, GZIP, TAR = "application/zip", "application/gzip", "application/x-tar"
MEDIA_TYPES = {b"PK": ZIP, b"\x1f\x8b": GZIP}
ZIP_ENTRY = b"PK\x01\x02"  # begins an entry of a zip's directory


@dataclass(frozen=True)
class ArchiveMember:
    """Where a file in an archive lies: `size` bytes from `offset` on.

    Of a zip, `unpacked` is how many bytes they unpack to, and at `offset` stands its local header,
    which the packed bytes follow.
    """

    name: str
    offset: int
    size: int
    unpacked: int | None = None


def media_type(data: bytes) -> str:
    """By its first bytes; what is neither zip nor gzip is taken for a tar."""
    return MEDIA_TYPES.get(data[:2], TAR)


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of an archive, one by one, with their names. Raises InvalidArchive."""
    try:
        yield from _zipped(data) if media_type(data) == ZIP else _tarred(data)
    except InvalidArchive:
        raise
    except Exception as error:  # whatever a damaged archive makes of its reader
        raise damaged(error) from None


class Budget:
    """What an archive of `size` bytes may still hold."""

    def __init__(self, size: int, files: int | None = None) -> None:
        self.bytes = max(ALWAYS_BYTES, RATIO * size)
        self.files = self._most = MAX_FILES if files is None else files

    def take(self, name: str, size: int) -> None:
        """Count a file. Raises InvalidArchive."""
        path = name.replace("\\", "/")
        if path.startswith("/") or re.match("[A-Za-z]:", path) or ".." in path.split("/"):
            raise InvalidArchive(f"{name!r} leads out of the archive")
        self.files -= 1
        self.bytes -= size
        if self.files < 0:
            raise too_many(self._most)
        if size > MAX_FILE_BYTES:
            raise InvalidArchive(f"{name!r} has more than {MAX_FILE_BYTES} bytes")
        if self.bytes < 0:
            raise InvalidArchive(f"its files have more than {RATIO} times the archive's bytes")


def _zipped(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data.count(ZIP_ENTRY) > MAX_FILES:  # before its reader makes an object of each
        raise too_many(MAX_FILES)
    budget = Budget(len(data))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            budget.take(entry.filename, entry.file_size)
            check_mode(entry.filename, entry.external_attr)
            if entry.is_dir():
                continue
            with archive.open(entry) as file:
                # Never more than is stated, however much the entry unpacks to; one byte more
                # would have the reader check the sum, as the end of the file does.
                yield entry.filename, file.read(entry.file_size + 1)


def _tarred(data: bytes) -> Iterator[tuple[str, bytes]]:
    budget = Budget(len(data))
    source: Any = io.BytesIO(data)
    if media_type(data) == GZIP:
        source = gzip.GzipFile(fileobj=source)
    bounded: Any = _Bounded(source, budget.bytes)
    with tarfile.open(fileobj=bounded, mode="r:") as archive:
        for entry in archive:
            budget.take(entry.name, entry.size)
            if entry.isdir():
                continue
            file = archive.extractfile(entry) if entry.isreg() else None
            if file is None:
                raise no_file(entry.name)
            content = file.read()
            if len(content) != entry.size:
                raise InvalidArchive(f"{entry.name!r} is cut off")
            yield entry.name, content


class _Bounded:
    """A file of which no more than the first `limit` bytes can be reached."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit

    def read(self, size: int) -> bytes:
        if size > MAX_FILE_BYTES:  # a header may claim any length
            raise InvalidArchive(f"a piece of it has more than {MAX_FILE_BYTES} bytes")
        self._check(self.tell() + size)
        return self._file.read(size)

    def seek(self, place: int) -> int:
        self._check(place)
        return self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, place: int) -> None:
        if place > self._limit:
            raise InvalidArchive(f"it unpacks to more than {self._limit} bytes")


def damaged(error: Exception) -> InvalidArchive:
    text = str(error).partition("\n")[0] or type(error).__name__
    return InvalidArchive(f"not a zip, tar or tar.gz that can be read: {text}")


def check_mode(name: str, attributes: int) -> None:
    """Of a zip's entry: links and devices are refused. Raises InvalidArchive."""
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise no_file(name)


def too_many(files: int) -> InvalidArchive:
    return InvalidArchive(f"it holds more than {files} files")


def no_file(name: str) -> InvalidArchive:
    return InvalidArchive(f"{name!r} is neither a file nor a folder")
