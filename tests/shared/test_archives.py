"""Archives from strangers: what is read of them, and everything that is refused."""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from shared import archives
from shared.archives import media_type, members
from shared.errors import InvalidArchive

FILES = {"a.png": b"first", "deep/b.png": b"second"}


def zipped(files: dict[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("deep")
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], form: str = "", kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{form}") as archive:
        folder = tarfile.TarInfo("deep")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "elsewhere" if kind != tarfile.REGTYPE else ""
            entry.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def gzipped(files: dict[str, bytes]) -> bytes:
    return tarred(files, "gz")


@pytest.mark.parametrize(
    ("pack", "kind"),
    [(zipped, "application/zip"), (tarred, "application/x-tar"), (gzipped, "application/gzip")],
)
def test_files_come_one_by_one_and_folders_do_not_count(
    pack: Callable[[dict[str, bytes]], bytes], kind: str
) -> None:
    assert dict(members(pack(FILES))) == FILES
    assert media_type(pack(FILES)) == kind


@pytest.mark.parametrize("pack", [zipped, tarred, gzipped])
@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "a\\..\\b", "C:\\a", "\\a"])
def test_a_name_that_leads_elsewhere(pack: Callable[[dict[str, bytes]], bytes], name: str) -> None:
    with pytest.raises(InvalidArchive, match="leads out of the archive"):
        list(members(pack({name: b""})))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices(kind: bytes) -> None:
    with pytest.raises(InvalidArchive, match="'a' is neither a file nor a folder"):
        list(members(tarred({"a": b""}, kind=kind)))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO])
def test_links_and_pipes_in_a_zip(mode: int) -> None:
    with pytest.raises(InvalidArchive, match="'a' is neither a file nor a folder"):
        list(members(zipped({"a": b"/etc/passwd"}, mode)))


@pytest.mark.parametrize("pack", [zipped, tarred, gzipped])
def test_too_many_files(
    pack: Callable[[dict[str, bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with pytest.raises(InvalidArchive, match="more than 3 files"):
        list(members(pack({str(number): b"" for number in range(4)})))


@pytest.mark.parametrize("pack", [zipped, gzipped])
def test_a_bomb_is_known_by_what_it_unpacks_to(
    pack: Callable[[dict[str, bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "ALWAYS_BYTES", 200_000)
    small = pack({"a": bytes(90_000), "b": bytes(90_000)})
    assert len(small) < 2000
    assert len(list(members(small))) == 2
    with pytest.raises(InvalidArchive, match="more than"):
        list(members(pack({str(number): bytes(90_000) for number in range(3)})))


@pytest.mark.parametrize("pack", [zipped, tarred, gzipped])
def test_one_file_that_is_too_large(
    pack: Callable[[dict[str, bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 100_000)
    with pytest.raises(InvalidArchive, match="more than 100000 bytes"):
        list(members(pack({"a": bytes(100_001)})))


def test_no_more_is_unpacked_than_a_zip_states() -> None:
    """Here it states one hundred of ten million bytes."""
    honest, bomb = zipped({"a": bytes(10_000_000)}), b""
    size = struct.pack("<I", 10_000_000)
    assert honest.count(size) == 2
    bomb = honest.replace(size, struct.pack("<I", 100))
    with pytest.raises(InvalidArchive, match="Bad CRC-32"):
        list(members(bomb))


def test_a_header_that_claims_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tar's long name may be of any length, and is read at once."""
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 50_000)
    entry = tarfile.TarInfo("a")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 60_000
    with pytest.raises(InvalidArchive, match="a piece of it has more than 50000 bytes"):
        list(members(entry.tobuf(tarfile.GNU_FORMAT) + b"a" * 60_928))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"PK",
        b"\x1f\x8bhello",
        zipped(FILES)[:-30],
        gzipped(FILES)[:-30],
        tarred(FILES)[:1026],
    ],
)
def test_what_is_no_archive_or_is_cut_off(data: bytes) -> None:
    with pytest.raises(InvalidArchive):
        list(members(data))


def test_a_password() -> None:
    locked = zipped({"a": b"x"})
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = locked.rindex(signature) + flags
        locked = locked[:place] + b"\x01" + locked[place + 1 :]
    with pytest.raises(InvalidArchive, match="encrypted"):
        list(members(locked))
