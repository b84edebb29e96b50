"""Archives of every form, read where they lie."""

import gzip
import io
import tarfile
import zipfile

import pytest

from api.batches.sources.archive import lines
from api.batches.sources.stored import Origin
from shared import archives
from shared.errors import InvalidArchive
from shared.layout import batch_folder

FILES = {
    "a.png": b"first",
    "deep/b.jpg": b"second" * 500,
    "deep/notes.txt": b"no picture",
    "__MACOSX/a.png": b"no picture either",
    "ü.webp": bytes(3_000_000),
}
PICTURES = {name: data for name, data in FILES.items() if data[:2] != b"no"}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files, form=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{form}") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def gzipped(files):
    return tarred(files, "gz")


def gzipped_twice(files):
    """Two members, as parallel packers write them, and the zeros of a tape."""
    data = tarred(files)
    return gzip.compress(data[:5000]) + gzip.compress(data[5000:]) + bytes(1000)


@pytest.mark.parametrize("pack", [zipped, tarred, gzipped, gzipped_twice])
@pytest.mark.parametrize("place", ["file_id", "url"])
def test_every_picture_can_be_read_by_its_reference(source_world, pack, place):
    data = pack(FILES)
    where = source_world.upload(data) if place == "file_id" else source_world.put("a.bin", data)
    found = source_world.lines(type="archive", **{place: where})
    assert {
        line.custom_id: source_world.content(line.variables["image"]) for line in found
    } == PICTURES
    assert [line.variables["name"] for line in found] == ["a", "deep/b", "ü"]


def test_a_packed_tar_is_unpacked_once(source_world):
    url = source_world.put("a.tar.gz", gzipped(FILES))
    batch = source_world.batch({"source": {"type": "archive", "url": url}})
    first = list(lines(Origin(source_world.services, batch), url))
    (copy,) = source_world.store.list(batch_folder(batch.id))
    again = list(lines(Origin(source_world.services, batch), url))
    assert again == first
    assert list(source_world.store.list(batch_folder(batch.id))) == [copy]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no archive", "truncated header"),
        (zipped(FILES)[:-50], "no directory"),
        (gzipped(FILES)[:-50], "ended before the end-of-stream marker"),
        (zipped({"../../a.png": b""}), "leads out"),
        (tarred({"../../a.png": b""}), "leads out"),
        (gzipped({"../../a.png": b""}), "leads out"),
    ],
)
def test_archives_that_are_refused(source_world, data, reason):
    with pytest.raises(InvalidArchive, match=reason):
        source_world.lines(type="archive", url=source_world.put("a.bin", data))


@pytest.mark.parametrize("pack", [zipped, gzipped])
def test_bombs(source_world, pack, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_BYTES", 1_000_000)
    bomb = pack({f"{number}.png": bytes(900_000) for number in range(5)})
    assert len(bomb) < 10_000
    batch = source_world.batch({"source": {"type": "archive"}})
    with pytest.raises(InvalidArchive, match="more than"):
        list(lines(Origin(source_world.services, batch), source_world.put("a.bin", bomb)))
    assert not list(source_world.store.list(batch_folder(batch.id)))
