"""Where the files of a zip lie, read from its directory a piece at a time.

The standard library's reader makes an object of every entry before it gives the first; an archive
of a million pictures is to be listed in flat memory. The format is PKWARE's APPNOTE.TXT 6.3.10,
whose sections the comments name.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from shared.archives import MAX_MEMBERS, ArchiveMember, Budget, check_mode, too_many
from shared.errors import InvalidArchive
from shared.ranged_file import RangedFile

STORED, DEFLATED = 0, 8
SLACK = 512  # bytes of a local header's name and extra field that are fetched on chance

_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_ENTRY = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_END = struct.Struct("<4s4H2LH")  # 4.3.16
_LONGEST_COMMENT = 2**16 - 1
_ENCRYPTED, _SUM_FOLLOWS, _UTF8 = 1, 1 << 3, 1 << 11  # 4.4.4
_IN_ZIP64 = 2**32 - 1  # where the extra field has the number instead


class _Directory(NamedTuple):
    offset: int
    size: int
    shift: int  # of all offsets: what stands before the archive in its file


def zip_members(file: RangedFile) -> Iterator[ArchiveMember]:
    """The files in the directory's order. Raises InvalidArchive."""
    directory, budget = _directory(file), Budget(file.size, MAX_MEMBERS)
    place, end = directory.offset, directory.offset + directory.size
    while place < end:
        file.seek(place)
        entry = _unpack(_ENTRY, file, b"PK\x01\x02")
        flags, method = entry[3], entry[4]
        name_size, extra_size, comment_size = entry[10:13]
        raw, extra = file.read(name_size), file.read(extra_size)
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437", errors="replace")
        size, unpacked, offset = _sizes(entry, extra)
        budget.take(name, max(size, unpacked))
        check_mode(name, entry[15])
        if flags & _ENCRYPTED:
            raise InvalidArchive(f"{name!r} is encrypted")
        if method not in (STORED, DEFLATED):
            raise InvalidArchive(f"{name!r} is packed in a way that is not read ({method})")
        offset += directory.shift
        if offset + _LOCAL.size + size > directory.offset:
            raise InvalidArchive(f"{name!r} lies outside of it")
        if not name.endswith("/"):
            yield ArchiveMember(name, offset, size, unpacked)
        place += _ENTRY.size + name_size + extra_size + comment_size


def zip_content(
    read_range: Callable[[int, int], bytes], offset: int, size: int, unpacked: int
) -> bytes:
    """The bytes of a member. Raises InvalidArchive, also where it unpacks to more than stated."""
    data = read_range(offset, _LOCAL.size + SLACK + size)
    if len(data) < _LOCAL.size or not data.startswith(b"PK\x03\x04"):
        raise InvalidArchive("no member of a zip is where one was")
    header = _LOCAL.unpack_from(data)
    start = _LOCAL.size + header[9] + header[10]
    packed = data[start : start + size]
    if len(packed) < size:
        packed += read_range(offset + start + len(packed), size - len(packed))
    if header[3] == DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, unpacked + 1)
        except zlib.error as error:
            raise InvalidArchive(f"a damaged member of a zip: {error}") from None
    else:
        content = packed
    if len(content) != unpacked:
        raise InvalidArchive("a member of a zip has another size than stated")
    if not header[2] & _SUM_FOLLOWS and zlib.crc32(content) != header[6]:
        raise InvalidArchive("a damaged member of a zip: its checksum differs")
    return content


def _directory(file: RangedFile) -> _Directory:
    tail_at = max(0, file.size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_at)
    tail = file.read(file.size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise InvalidArchive("not a zip that can be read: it has no directory")
    end = _END.unpack_from(tail, at)
    entries, size, offset, end_at = end[4], end[5], end[6], tail_at + at
    locator_at = end_at - _LOCATOR.size
    if locator_at >= 0:
        file.seek(locator_at)
        locator = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if locator[0] == b"PK\x06\x07":
            # It stands right before its locator, also where something stands before the archive.
            end_at = locator_at - _END64.size
            file.seek(max(0, end_at))
            end64 = _unpack(_END64, file, b"PK\x06\x06")
            entries, size, offset = end64[7], end64[8], end64[9]
    if entries > MAX_MEMBERS:
        raise too_many(MAX_MEMBERS)
    shift = end_at - size - offset
    if shift < 0:
        raise InvalidArchive("not a zip that can be read: it is cut off")
    return _Directory(offset + shift, size, shift)


def _unpack(form: struct.Struct, file: RangedFile, signature: bytes) -> tuple[int, ...]:
    data = file.read(form.size)
    if len(data) < form.size or not data.startswith(signature):
        raise InvalidArchive("not a zip that can be read: its directory is damaged")
    return form.unpack(data)


def _sizes(entry: tuple[int, ...], extra: bytes) -> tuple[int, int, int]:
    """Packed size, unpacked size and offset: in the entry, or in its field of zip64 (4.5.3)."""
    size, unpacked, offset = entry[8], entry[9], entry[16]
    longs = _zip64(extra) if _IN_ZIP64 in (size, unpacked, offset) else iter(())
    try:
        unpacked = next(longs) if unpacked == _IN_ZIP64 else unpacked
        size = next(longs) if size == _IN_ZIP64 else size
        offset = next(longs) if offset == _IN_ZIP64 else offset
    except StopIteration:
        raise InvalidArchive("not a zip that can be read: a size is missing") from None
    return size, unpacked, offset


def _zip64(extra: bytes) -> Iterator[int]:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        if kind == 1:
            field = extra[4 : 4 + size]
            return iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
        extra = extra[4 + size :]
    return iter(())
