"""Uploads with the purpose `batch`: request lines, manifests, archives, of any size.

They arrive in a temporary file, and no more than a block of them is in memory at a time.
"""

import codecs
import hashlib
from collections.abc import Iterator
from typing import IO

from api.uploads import BATCH, Upload
from shared.errors import InvalidRequest, StorageCorrupt

HEAD = 64 * 1024  # bytes that tell what a file is
TAR_MAGIC = slice(257, 262)

MAGIC = {
    b"PK": "application/zip",
    b"\x1f\x8b": "application/gzip",
    b"PAR1": "application/vnd.apache.parquet",
}


def look_over(file: IO[bytes], filename: str) -> Upload:
    """What the file is, by its beginning, and its digest. Raises InvalidRequest."""
    head = file.read(HEAD)
    if not head:
        raise InvalidRequest.at("/file", "the file is empty")
    media_type = _media_type(head, filename)
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    size = file.tell()
    file.seek(0)
    return Upload(file, digest, media_type, size, BATCH, filename)


def _media_type(head: bytes, filename: str) -> str:
    for magic, media_type in MAGIC.items():
        if head.startswith(magic):
            return media_type
    if head[TAR_MAGIC] == b"ustar":
        return "application/x-tar"
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # it may end within a character
    except UnicodeDecodeError:
        raise InvalidRequest.at(
            "/file", "neither text in UTF-8 (JSON lines, JSON) nor a zip, tar, tar.gz or parquet"
        ) from None
    return "application/json" if filename.endswith(".json") else "application/jsonl"


def verified(blocks: Iterator[bytes], key: str, sha256: str, size: int) -> Iterator[bytes]:
    """The same blocks, the last one only once the digest of all of them is right.

    Whoever reads them sees an object that is damaged as cut off. Raises StorageCorrupt.
    """
    digest, seen, held = hashlib.sha256(), 0, b""
    for block in blocks:
        if held:
            yield held
        digest.update(block)
        seen += len(block)
        held = block
    if seen != size or digest.hexdigest() != sha256:
        raise StorageCorrupt(f"{key}: size or SHA-256 differ")
    yield held
