"""Where the files of a tar lie, read from its headers with what they hold skipped."""

import tarfile
from collections.abc import Iterator
from typing import Any

from shared.archives import MAX_MEMBERS, ArchiveMember, Budget, damaged, no_file
from shared.errors import ImagemillError, InvalidArchive
from shared.ranged_file import RangedFile


def tar_members(file: RangedFile) -> Iterator[ArchiveMember]:
    """The files in their order, in flat memory. Raises InvalidArchive."""
    try:
        yield from _members(file)
    except ImagemillError:
        raise
    except Exception as error:  # whatever a damaged archive makes of its reader
        raise damaged(error) from None


def _members(file: RangedFile) -> Iterator[ArchiveMember]:
    budget = Budget(file.size, MAX_MEMBERS)
    source: Any = file
    archive: Any
    with tarfile.open(fileobj=source, mode="r:") as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # it would keep them all
            budget.take(entry.name, entry.size)
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                raise no_file(entry.name)
            if entry.offset_data + entry.size > file.size:
                raise InvalidArchive(f"{entry.name!r} is cut off")
            name = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            yield ArchiveMember(name, entry.offset_data, entry.size)
        file.seek(archive.offset)
        # The reader takes a header that is none for the end.
        if any(file.read(tarfile.BLOCKSIZE)):
            raise InvalidArchive(f"damaged behind its first {archive.offset} bytes")
