import io
import json
import tarfile

import pytest

from shared.errors import InvalidArchive, NotFound


def shard(files, form=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{form}") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


SAMPLES = {
    "0001.jpg": b"picture 1",
    "0001.txt": "قطة\n".encode(),
    "0001.json": json.dumps(
        {"width": 64, "url": "u", "txt": "other", "tags": [], "a b": 1}
    ).encode(),
    "0002.seg.png": b"picture 2",
    "0002.cls": b"5",
    "deep/0003.txt": b"no picture",
    "0004.jpg": b"picture 4",
    "0004.json": b"{",
}


@pytest.mark.parametrize("form", ["", "gz"])
def test_files_of_one_key_are_one_item(source_world, form):
    url = source_world.put("train-00.tar", shard(SAMPLES, form))
    first, second, third, bad = source_world.lines(type="webdataset", urls=[url])
    assert first.custom_id == "train-00/0001"
    assert source_world.content(first.variables["image"]) == b"picture 1"
    assert {name: value for name, value in first.variables.items() if name != "image"} == {
        "name": "0001",
        "txt": "قطة",
        "width": "64",
        "url": "u",
    }
    assert source_world.content(second.variables["image"]) == b"picture 2"
    assert (third.custom_id, third.variables) == (
        "train-00/deep/0003",
        {"txt": "no picture", "name": "deep/0003"},
    )
    assert (bad.custom_id, bad.error.code) == ("train-00/0004", "invalid_sample")


def test_shards_below_a_prefix_with_the_same_keys(source_world):
    for name in ("b.tar", "a.tar", "c.tgz"):
        form = "gz" if name.endswith("gz") else ""
        source_world.put(f"set/{name}", shard({"1.jpg": name.encode()}, form))
    source_world.put("set/readme.txt", b"")
    found = source_world.lines(type="webdataset", prefix=source_world.url + "set/")
    contents = {line.custom_id: source_world.content(line.variables["image"]) for line in found}
    assert contents == {"a/1": b"a.tar", "b/1": b"b.tar", "c/1": b"c.tgz"}


def test_texts_that_are_too_long_and_shards_that_are_none(source_world):
    url = source_world.put("a.tar", shard({"1.txt": b"a" * 70_000, "2.txt": b"\xff"}))
    found = source_world.lines(type="webdataset", urls=[url])
    assert [line.error.code for line in found] == ["invalid_sample"] * 2
    with pytest.raises(NotFound):
        source_world.lines(type="webdataset", urls=[url, source_world.url + "b.tar"])
    with pytest.raises(InvalidArchive):
        source_world.lines(type="webdataset", urls=[source_world.put("c.tar", b"no archive" * 99)])
