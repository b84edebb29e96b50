"""The directory of a zip, read in pieces: what the standard library writes, and damage."""

import io
import random
import stat
import struct
import sys
import zipfile
import zlib

import pytest

from shared import archives
from shared import zip_members as module
from shared.errors import InvalidArchive
from shared.ranged_file import BLOCK, RangedFile
from shared.zip_members import zip_content, zip_members

FILES = {"a.png": b"first", "deep/ü.png": b"second" * 500, "empty": b""}


class Bytes:
    """Serves ranges, and counts them."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, []

    def read(self, offset: int, size: int) -> bytes:
        self.asked.append((offset, size))
        return self.data[offset : offset + size]

    def file(self) -> RangedFile:
        return RangedFile(self.read, len(self.data))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, **extras) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.mkdir("deep")
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            entry.external_attr = extras.get("mode", 0) << 16
            entry.comment = extras.get("comment", b"")
            archive.writestr(entry, data)
        archive.comment = extras.get("whole", b"")
    return buffer.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    source = Bytes(data)
    return {
        member.name: zip_content(source.read, member.offset, member.size, member.unpacked)
        for member in zip_members(source.file())
    }


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("prefix", [b"", b"#!/bin/sh\n" * 50], ids=["plain", "self-extracting"])
@pytest.mark.parametrize("whole", [b"", b"c" * 65_535], ids=["bare", "commented"])
def test_files_and_no_folders(method: int, prefix: bytes, whole: bytes) -> None:
    data = zipped(FILES, method, whole=whole, comment=b"of one")
    assert read(prefix + data) == FILES
    assert [member.name for member in zip_members(Bytes(data).file())] == list(FILES)


def test_written_to_a_pipe() -> None:
    """Sizes follow the data then, and the local header has none."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    assert read(bytes(pipe.data)) == FILES


def test_zip64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    data = zipped(FILES)
    assert b"PK\x06\x06" in data
    assert read(data) == FILES
    assert read(b"before" + data) == FILES


def test_a_local_header_that_is_longer_than_expected() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("a")
        entry.extra = struct.pack("<HH", 0xCAFE, 2000) + bytes(2000)
        archive.writestr(entry, b"content")
    assert read(buffer.getvalue()) == {"a": b"content"}


def test_many_files_in_few_requests_and_flat_memory() -> None:
    names = [f"{number:06}.png" for number in range(40_000)]
    source = Bytes(zipped(dict.fromkeys(names, b""), zipfile.ZIP_STORED))
    file = source.file()
    assert [member.name for member in zip_members(file)] == names
    assert len(source.asked) <= 3 + len(source.data) // BLOCK
    assert sys.getsizeof(file._block) <= BLOCK + 100


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "a\\..\\b", "C:\\a"])
def test_a_name_that_leads_elsewhere(name: str) -> None:
    with pytest.raises(InvalidArchive, match="leads out of the archive"):
        read(zipped({name: b""}))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO])
def test_links_and_pipes(mode: int) -> None:
    with pytest.raises(InvalidArchive, match="'a' is neither a file nor a folder"):
        read(zipped({"a": b"/etc/passwd"}, mode=mode))


def test_what_unpacks_to_far_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_BYTES", 200_000)
    assert len(read(zipped({"a": bytes(90_000), "b": bytes(90_000)}))) == 2
    with pytest.raises(InvalidArchive, match="more than 20 times"):
        read(zipped({str(number): bytes(90_000) for number in range(3)}))


def test_entries_that_share_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flat bomb: every entry of the directory points at the one file."""
    monkeypatch.setattr(archives, "ALWAYS_BYTES", 200_000)
    data = zipped({"a": random.Random(1).randbytes(90_000)}, zipfile.ZIP_STORED)
    start = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    entry = data[start:end] * 30
    place = struct.pack("<2H2L", 30, 30, len(entry), start)
    with pytest.raises(InvalidArchive, match="more than 20 times"):
        read(data[:start] + entry + data[end : end + 8] + place + data[end + 20 :])


def test_more_than_is_stated() -> None:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(10_000_000)) + packer.flush()
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(packed), 100, 1, 0)
    source = Bytes(header + b"a" + packed)
    with pytest.raises(InvalidArchive, match="another size"):
        zip_content(source.read, 0, len(packed), 100)


def test_a_bit_that_fell_over() -> None:
    whole = zipped({"a": b"content"}, zipfile.ZIP_STORED)
    with pytest.raises(InvalidArchive, match="checksum"):
        read(whole.replace(b"content", b"kontent"))


def test_a_packed_size_that_nobody_should_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one byte, it says."""
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 50_000)
    data = bytearray(zipped({"a": bytes(60_000)}, zipfile.ZIP_STORED))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<L", 1)
    with pytest.raises(InvalidArchive, match="more than 50000 bytes"):
        read(bytes(data))


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    with pytest.raises(InvalidArchive, match="more than 2 files"):
        read(zipped(FILES))


def test_encrypted_and_unknown_methods() -> None:
    data = zipped({"a": b"x"})
    place = data.rindex(b"PK\x01\x02")
    with pytest.raises(InvalidArchive, match="encrypted"):
        read(data[: place + 8] + b"\x01" + data[place + 9 :])
    with pytest.raises(InvalidArchive, match=r"not read \(12\)"):
        read(zipped({"a": b"x"}, zipfile.ZIP_BZIP2))


def test_no_damage_escapes_as_anything_else() -> None:
    """Bytes cut off and changed anywhere, by chance: the same chance each time."""
    chance, whole = random.Random(7), zipped(FILES)
    refused = 0
    for _ in range(3000):
        data = bytearray(whole[: chance.randint(0, len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.randint(0, 4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            found = read(bytes(data))
        except InvalidArchive:
            refused += 1
        else:
            assert sum(map(len, found.values())) <= archives.ALWAYS_BYTES
    assert refused > 1000
