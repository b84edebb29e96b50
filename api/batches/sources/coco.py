"""A COCO annotation file with its pictures: below a prefix, or in an archive.

The format is described in `shared.coco`. A file may have millions of annotations: it is read as
a stream, twice.
"""

from collections.abc import Callable, Iterator
from typing import Any

import ijson

from api.batches.sources.archive import members
from api.batches.sources.disk_table import DiskTable
from api.batches.sources.line import Line, is_custom_id, stem
from api.batches.sources.stored import Origin, Stored
from shared.coco import InvalidDataset


def lines(origin: Origin, annotations: str, images: str) -> Iterator[Line]:
    """One item a picture, with the first of its captions."""
    stored = origin.find(annotations)
    captions = DiskTable()
    for annotation in _records(origin, stored, "annotations"):
        caption = annotation.get("caption")
        if isinstance(caption, str):  # instances and keypoints have none
            captions.add(str(annotation.get("image_id")), caption)
    find = _folder(images) if images.endswith("/") else _archive(origin, images)
    for picture in _records(origin, stored, "images"):
        name, number = picture.get("file_name"), str(picture.get("id"))
        if not is_custom_id(name):
            yield Line(name)
            continue
        image = find(name)
        if image is None:
            yield Line.bad("not_found", "the archive has no such picture", name)
            continue
        caption = captions.get(number) or ""
        variables = {"image": image, "name": stem(name), "caption": caption, "id": number}
        yield Line(name, variables)


def _folder(url: str) -> Callable[[str], str | None]:
    return lambda name: url + name


def _archive(origin: Origin, reference: str) -> Callable[[str], str | None]:
    """By its path in the archive, or else by its name alone: `val2017.zip` has a folder
    `val2017` that its annotations do not speak of."""
    paths, names = DiskTable(), DiskTable()
    for image, member in members(origin, reference):
        paths.add(member.name, image)
        names.add(member.name.rpartition("/")[2], image)
    return lambda name: paths.get(name) or names.get(name.rpartition("/")[2])


def _records(origin: Origin, stored: Stored, array: str) -> Iterator[dict[str, Any]]:
    """The objects of one array of the file. Raises InvalidDataset."""
    found = ijson.sendable_list()
    parser = ijson.items_coro(found, f"{array}.item")
    try:
        for block in origin.stream(stored):
            parser.send(block)
            for record in found:
                if not isinstance(record, dict):
                    raise InvalidDataset(f"{array} of the annotations has what is no object")
                yield record
            found.clear()
        parser.close()
    except (ijson.JSONError, ValueError) as error:
        raise InvalidDataset(f"the annotations are not valid JSON: {error}") from None
