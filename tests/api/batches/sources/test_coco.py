import io
import json
import zipfile

import pytest

from shared.coco import InvalidDataset

IMAGES = [
    {"id": 7, "file_name": "a.jpg", "width": 4, "height": 3, "license": 1},
    {"id": 9, "file_name": "deep/b.jpg"},
    {"id": 11, "file_name": "none.jpg"},
    {"id": 12},
]
ANNOTATIONS = [
    {"id": 1, "image_id": 9, "caption": "a dog"},
    {"id": 2, "image_id": 7, "caption": "a cat"},
    {"id": 3, "image_id": 7, "caption": "a second caption"},
    {"id": 4, "image_id": 7, "bbox": [0.5, 1, 2, 3]},
]


def dataset(images=IMAGES, annotations=ANNOTATIONS):
    return json.dumps({"info": {"images": "no"}, "annotations": annotations, "images": images})


def zipped(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return buffer.getvalue()


def test_pictures_below_a_prefix(source_world):
    annotations = source_world.upload(dataset().encode())
    images = source_world.url + "val2017/"
    found = source_world.lines(type="coco", annotations=annotations, images=images)
    assert [line.custom_id for line in found] == ["a.jpg", "deep/b.jpg", "none.jpg", None]
    assert found[0].variables == {
        "image": images + "a.jpg",
        "name": "a",
        "caption": "a cat",
        "id": "7",
    }
    assert [line.variables["caption"] for line in found[1:3]] == ["a dog", ""]


@pytest.mark.parametrize("folder", ["", "val2017/"])
def test_pictures_in_an_archive_with_and_without_a_folder(source_world, folder):
    archive = source_world.upload(zipped([f"{folder}a.jpg", f"{folder}deep/b.jpg"]))
    url = source_world.put("captions.json", dataset().encode())
    first, second, third, _ = source_world.lines(type="coco", annotations=url, images=archive)
    assert source_world.content(first.variables["image"]).decode() == f"{folder}a.jpg"
    assert source_world.content(second.variables["image"]).decode() == f"{folder}deep/b.jpg"
    assert (third.custom_id, third.error.code) == ("none.jpg", "not_found")


def test_more_than_a_block_of_annotations(source_world):
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(15_000)]
    annotations = [{"image_id": number, "caption": f"{number}"} for number in range(15_000)]
    url = source_world.put("captions.json", dataset(images, annotations).encode())
    found = source_world.lines(type="coco", annotations=url, images=source_world.url)
    assert len(found) == 15_000
    assert all(line.variables["caption"] == line.variables["name"] for line in found)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"not JSON",
        dataset()[:-40].encode(),
        b'{"images": [1]}',
        b'{"images":[{"id":"\xff"}]}',
    ],
)
def test_annotations_that_are_of_no_use(source_world, data):
    url = source_world.put("captions.json", data)
    with pytest.raises(InvalidDataset):
        source_world.lines(type="coco", annotations=url, images=source_world.url)
