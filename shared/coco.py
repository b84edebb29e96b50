"""COCO data sets: pictures with captions, read from their annotation files.

The format is that of https://cocodataset.org/#format-data (Lin et al. 2014; captions: Chen et al.
2015), for instance `captions_val2017.json` beside the folder `val2017`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from shared.errors import ImagemillError


class InvalidDataset(ImagemillError):
    """A data set's file cannot be read or is not of its format; the message says where."""

    code = "invalid_dataset"


@dataclass(frozen=True)
class CocoItem:
    """A picture with any number of captions. Width and height are in pixels, where stated.

    `path` is relative where no folder of pictures was given; `missing`: there is no such file.
    Two items may have the same file, but never the same id.
    """

    id: int
    file_name: str
    path: Path
    width: int | None = None
    height: int | None = None
    captions: tuple[str, ...] = ()
    missing: bool = False


def _within(name: str) -> str:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or not parts or "\0" in name:
        raise PydanticCustomError("outside", "it must lie in the folder of pictures")
    return name


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)


class _Picture(_Record):
    id: int
    file_name: Annotated[str, AfterValidator(_within)]
    width: int | None = None
    height: int | None = None


class _Annotation(_Record):
    image_id: int
    caption: str | None = None  # instances and keypoints have none


class _Dataset(_Record):
    images: list[_Picture]
    annotations: list[_Annotation] = Field(default=[])  # a test set has none


def read_captions(annotations: Path, images: Path | None = None) -> Iterator[CocoItem]:
    """The pictures of an annotation file, in its order, each with its captions in theirs.

    `images` is the folder that the pictures lie in; a picture that does not is `missing`.
    Raises InvalidDataset, before the first item.
    """
    dataset = _load(annotations)
    if images and not images.is_dir():
        raise InvalidDataset(f"{images}: there is no such folder")
    captions: dict[int, list[str]] = {}
    for place, picture in enumerate(dataset.images):
        if picture.id in captions:
            raise InvalidDataset(
                f"{annotations}: images[{place}].id: another picture has {picture.id} too"
            )
        captions[picture.id] = []
    for place, annotation in enumerate(dataset.annotations):
        if annotation.image_id not in captions:
            raise InvalidDataset(
                f"{annotations}: annotations[{place}].image_id: "
                f"there is no picture {annotation.image_id}"
            )
        if annotation.caption is not None:
            captions[annotation.image_id].append(annotation.caption)
    return (_item(picture, captions[picture.id], images) for picture in dataset.images)


def jobs(items: Iterable[CocoItem], images: str | Path) -> Iterator[dict[str, Any]]:
    """A `caption` job for each picture, its references kept in the job's metadata.

    `images` is where the service or the client finds the pictures: `s3://bucket/val2017`, or a
    folder. Missing pictures have their job too, which then fails in its own name.
    """
    for item in items:
        yield {
            "kind": "caption",
            "input": {"image": f"{str(images).rstrip('/')}/{item.file_name}"},
            "metadata": {"coco": {"image_id": item.id, "captions": list(item.captions)}},
        }


def collate(items: Iterable[CocoItem]) -> dict[str, list[Any]]:
    """A batch with ragged captions, for a loader's `collate_fn`: `images` are n paths, and
    `captions` n lists of any length."""
    batch = list(items)
    return {
        "images": [item.path for item in batch],
        "captions": [list(item.captions) for item in batch],
    }


def _load(file: Path) -> _Dataset:
    try:
        return _Dataset.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InvalidDataset(f"{file}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
        raise InvalidDataset(
            ": ".join(filter(None, (str(file), place[1:], first["msg"])))
        ) from None


def _item(picture: _Picture, captions: list[str], images: Path | None) -> CocoItem:
    path = (images or Path()) / picture.file_name
    return CocoItem(
        id=picture.id,
        file_name=picture.file_name,
        path=path,
        width=picture.width,
        height=picture.height,
        captions=tuple(captions),
        missing=images is not None and not path.is_file(),
    )
