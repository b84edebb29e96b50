"""The headers of a tar with what they hold skipped."""

import io
import random
import tarfile

import pytest

from shared import archives
from shared import tar_members as module
from shared.errors import InvalidArchive
from shared.ranged_file import BLOCK, RangedFile
from shared.tar_members import tar_members

FILES = {"a.png": b"first", "deep/" + "ü" * 150 + ".png": b"second" * 500, "empty": b""}


def tarred(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT, kind=tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("deep")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "elsewhere" if kind != tarfile.REGTYPE else ""
            entry.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def ranged(data: bytes) -> RangedFile:
    return RangedFile(lambda offset, size: data[offset : offset + size], len(data))


def read(data: bytes) -> dict[str, bytes]:
    return {
        member.name: data[member.offset : member.offset + member.size]
        for member in tar_members(ranged(data))
    }


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_files_and_no_folders(form: int) -> None:
    assert read(tarred(FILES, form)) == FILES


def test_what_large_files_hold_is_not_fetched() -> None:
    data, fetched = tarred({str(number): bytes(8 * BLOCK) for number in range(4)}), []

    def read_range(offset: int, size: int) -> bytes:
        fetched.append(size)
        return data[offset : offset + size]

    assert len(list(tar_members(RangedFile(read_range, len(data))))) == 4
    assert sum(fetched) < len(data) / 4


def test_a_name_that_is_no_text() -> None:
    entry = tarfile.TarInfo("a\udcff.png")
    data = entry.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape") + bytes(1024)
    assert list(read(data)) == ["a\ufffd.png"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b"])
def test_a_name_that_leads_elsewhere(name: str) -> None:
    with pytest.raises(InvalidArchive, match="leads out of the archive"):
        read(tarred({name: b""}))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_devices_and_holes(kind: bytes) -> None:
    with pytest.raises(InvalidArchive, match="'a' is neither a file nor a folder"):
        read(tarred({"a": b""}, tarfile.GNU_FORMAT, kind))


def test_too_many_and_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 100_000)
    with pytest.raises(InvalidArchive, match="more than 100000 bytes"):
        read(tarred({"a": bytes(100_001)}))
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    with pytest.raises(InvalidArchive, match="more than 2 files"):
        read(tarred(FILES))


def test_a_header_that_claims_a_length() -> None:
    entry = tarfile.TarInfo("a")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, BLOCK + 1
    with pytest.raises(InvalidArchive, match="a header of it has more than"):
        read(entry.tobuf(tarfile.GNU_FORMAT) + bytes(BLOCK + 512))


def test_damage_is_no_end() -> None:
    whole = tarred({"a": b"first", "b": b"second"}, tarfile.GNU_FORMAT)
    second = whole.rindex(b"b\0\0")
    with pytest.raises(InvalidArchive, match=f"damaged behind its first {second} bytes"):
        read(whole[:second] + b"\xff" + whole[second + 1 :])


@pytest.mark.parametrize(
    "data", [b"", b"hello", tarred(FILES)[:600], tarred({"a": b"x" * 9})[:1026]]
)
def test_what_is_no_tar_or_is_cut_off(data: bytes) -> None:
    with pytest.raises(InvalidArchive):
        read(data)


def test_no_damage_escapes_as_anything_else() -> None:
    """Bytes cut off and changed anywhere, by chance: the same chance each time."""
    chance, whole = random.Random(7), tarred(FILES)
    refused = 0
    for _ in range(3000):
        data = bytearray(whole[: chance.randint(0, len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.randint(0, 20)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            found = read(bytes(data))
        except InvalidArchive:
            refused += 1
        else:
            assert sum(map(len, found.values())) <= len(data)
    assert refused > 1000
