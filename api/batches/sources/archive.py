"""Every picture in an archive, read where it lies: the archive is never unpacked."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator

from api.batches.sources.line import Line, stem
from api.batches.sources.stored import Origin, Stored, is_picture
from shared.archives import GZIP, TAR, ArchiveMember, Budget, damaged, media_type
from shared.errors import InvalidArchive
from shared.layout import batch_folder
from shared.ranged_file import RangedFile
from shared.tar_members import tar_members
from shared.zip_members import zip_members

BLOCK = 2**20  # bytes that are unpacked at once


def lines(origin: Origin, reference: str) -> Iterator[Line]:
    for image, member in members(origin, reference):
        path = member.name.removeprefix("./")  # `tar -c .` writes it
        if is_picture(path):
            yield Line(path, {"image": image, "name": stem(path)}, bytes=member.size)


def members(origin: Origin, reference: str) -> Iterator[tuple[str, ArchiveMember]]:
    """The files of an archive, each with a reference to it. Raises InvalidArchive, NotFound,
    InvalidRequest."""
    archive = as_plain(origin, origin.find(reference))
    read = tar_members if _form(origin, archive) == TAR else zip_members
    for member in read(origin.open(archive)):
        place = f"{archive.reference}#{member.offset}+{member.size}"
        yield place if member.unpacked is None else f"{place}+zip+{member.unpacked}", member


def as_plain(origin: Origin, archive: Stored) -> Stored:
    """The archive, or its copy in the batch's folder that was made of a packed tar: of that one
    no part can be read by itself."""
    if _form(origin, archive) != GZIP:
        return archive
    store, bucket = origin.services.store, origin.services.settings.s3_bucket
    name = hashlib.sha256(archive.reference.encode()).hexdigest()[:16]
    key = f"{batch_folder(origin.batch.id)}source-{name}.tar"
    if not store.exists(key):
        store.put_stream(key, _unpacked(origin.open(archive)), TAR)
    return Stored(f"s3://{bucket}/{key}", key, store.head(key).bytes)


def _form(origin: Origin, archive: Stored) -> str:
    return media_type(origin.begin(archive, 2))


def _unpacked(packed: RangedFile) -> Iterator[bytes]:
    limit = Budget(packed.size).bytes
    try:
        with gzip.GzipFile(fileobj=packed) as file:
            while data := file.read(BLOCK):
                limit -= len(data)
                if limit < 0:
                    raise InvalidArchive("it unpacks to more than pictures would")
                yield data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(error) from None
