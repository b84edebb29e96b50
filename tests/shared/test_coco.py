"""COCO annotation files, as they are and as they should not be."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.coco import CocoItem, InvalidDataset, collate, jobs, read_captions


def picture(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name or f"{number:012}.jpg", **more}


def write(folder: Path, images: Any, annotations: Any = None) -> Path:
    """An annotation file; without `annotations` it has no such key."""
    data = {"info": {"year": 2017}, "licenses": [], "images": images}
    if annotations is not None:
        data["annotations"] = annotations
    file = folder / "captions.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    return file


def caption(number: int, text: str) -> dict[str, Any]:
    return {"id": number * 1000, "image_id": number, "caption": text}


def test_pictures_come_with_their_captions_in_the_files_order(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        [picture(42, width=640, height=480), picture(7)],
        [caption(7, "a dog"), caption(42, "a cat\n"), caption(7, "ein Hünd")],
    )
    assert list(read_captions(file)) == [
        CocoItem(42, "000000000042.jpg", Path("000000000042.jpg"), 640, 480, ("a cat\n",)),
        CocoItem(7, "000000000007.jpg", Path("000000000007.jpg"), captions=("a dog", "ein Hünd")),
    ]


def test_annotations_without_captions_give_none(tmp_path: Path) -> None:
    instances = [{"image_id": 1, "bbox": [0, 0, 2, 2], "category_id": 3}]
    [item] = read_captions(write(tmp_path, [picture(1)], instances))
    assert item.captions == ()
    [item] = read_captions(write(tmp_path, [picture(1)]))  # as image_info_test2017.json
    assert item.captions == ()


def test_a_missing_picture_is_told_and_not_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "val2017"
    (folder / "more").mkdir(parents=True)
    (folder / "more/1.jpg").write_bytes(b"picture")
    file = write(tmp_path, [picture(1, "more/1.jpg"), picture(2, "2.jpg"), picture(3, "more")])
    items = list(read_captions(file, folder))
    assert [item.missing for item in items] == [False, True, True]
    assert items[0].path.read_bytes() == b"picture"
    assert not any(item.missing for item in read_captions(file))  # nobody looked


def test_two_pictures_may_share_a_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        [picture(1, "same.jpg"), picture(2, "same.jpg")],
        [caption(1, "one"), caption(2, "two")],
    )
    items = list(read_captions(file))
    assert [(item.id, item.captions) for item in items] == [(1, ("one",)), (2, ("two",))]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"images": [\n{"id": 1,}]}', "line 2 column 10"),
        ('{"images": [', "line 1 column 12"),
        ("", "line 1 column 0"),
        ('{"images": ' + "[" * 100_000, "recursion limit"),
        ("[]", ": Input should be an object"),
        ("{}", ": images: Field required"),
        ('{"images": [{"id": 1}]}', ": images[0].file_name: Field required"),
        ('{"images": [{"id": "1", "file_name": "a"}]}', ": images[0].id: "),
        ('{"images": [{"id": true, "file_name": "a"}]}', ": images[0].id: "),
        (
            '{"images": [{"id": 1, "file_name": "../a"}]}',
            ": images[0].file_name: it must lie in the",
        ),
        ('{"images": [{"id": 1, "file_name": "a/../../b"}]}', ": images[0].file_name: "),
        ('{"images": [{"id": 1, "file_name": "/etc/passwd"}]}', ": images[0].file_name: "),
        ('{"images": [{"id": 1, "file_name": ""}]}', ": images[0].file_name: "),
        ('{"images": [{"id": 1, "file_name": "a\\u0000"}]}', ": images[0].file_name: "),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}',
            ": images[1].id: another picture has 1 too",
        ),
        (
            '{"images": [], "annotations": [{"image_id": 9, "caption": "a cat"}]}',
            ": annotations[0].image_id: there is no picture 9",
        ),
        ('{"images": [], "annotations": [{"caption": 1}]}', ": annotations[0].image_id: "),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, content: str, complaint: str
) -> None:
    file = tmp_path / "captions.json"
    file.write_text(content)
    with pytest.raises(InvalidDataset) as caught:
        read_captions(file)
    assert caught.value.message.startswith(f"{file}: ")
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message


def test_files_and_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"none\.json: No such file"):
        read_captions(tmp_path / "none.json")
    with pytest.raises(InvalidDataset, match="val2017: there is no such folder"):
        read_captions(write(tmp_path, []), tmp_path / "val2017")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "captions.json"
    file.write_bytes(b'{"images": [{"id": 1, "file_name": "\xff"}]}')
    with pytest.raises(InvalidDataset, match="line 1 column"):
        read_captions(file)


def test_jobs_keep_the_references() -> None:
    items = [CocoItem(42, "a/b.jpg", Path("a/b.jpg"), captions=("a cat", "a black cat"))]
    [job] = jobs(items, "s3://pictures/val2017/")
    assert job == {
        "kind": "caption",
        "input": {"image": "s3://pictures/val2017/a/b.jpg"},
        "metadata": {"coco": {"image_id": 42, "captions": ["a cat", "a black cat"]}},
    }
    [job] = jobs(items, Path("/data/val2017"))
    assert job["input"] == {"image": "/data/val2017/a/b.jpg"}


ragged = st.dictionaries(st.integers(0, 2**53), st.lists(st.text(max_size=20), max_size=7))


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ragged, st.randoms(use_true_random=False))
def test_any_number_of_captions_stays_with_its_picture(
    tmp_path: Path, expected: dict[int, list[str]], random: Any
) -> None:
    """Whatever order the annotations of different pictures come in."""
    waiting = {number: list(texts) for number, texts in expected.items() if texts}
    annotations = []
    while waiting:
        number = random.choice(sorted(waiting))
        annotations.append(caption(number, waiting[number].pop(0)))
        if not waiting[number]:
            del waiting[number]
    file = write(tmp_path, [picture(number) for number in expected], annotations)
    items = list(read_captions(file))
    assert {item.id: list(item.captions) for item in items} == expected
    batch = collate(items)
    assert batch["captions"] == list(expected.values())
    assert batch["images"] == [Path(f"{number:012}.jpg") for number in expected]
    assert [job["metadata"]["coco"] for job in jobs(items, "s3://b")] == [
        {"image_id": number, "captions": texts} for number, texts in expected.items()
    ]
