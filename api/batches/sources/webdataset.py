"""WebDataset shards: in a tar, the files `KEY.jpg`, `KEY.txt`, `KEY.json` are one item.

The format is that of https://github.com/webdataset/webdataset: the key is the path up to the
first dot of its last part, and the files of one key follow each other.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby

from pydantic_core import from_json

from api.batches.sources.archive import as_plain
from api.batches.sources.line import Line
from api.batches.sources.manifest import NAME
from api.batches.sources.stored import PICTURES, Origin
from shared.archives import ArchiveMember
from shared.ranged_file import RangedFile
from shared.tar_members import tar_members

SHARDS = (".tar", ".tar.gz", ".tgz")
LONGEST_TEXT = 2**16  # bytes of a caption or of a sample's fields


def lines(origin: Origin, urls: Iterable[str] | None, prefix: str = "") -> Iterator[Line]:
    """Of the shards that are named, or of all below a prefix."""
    if urls is None:
        urls = (prefix + path for path, _ in origin.list(prefix) if path.endswith(SHARDS))
    for url in urls:
        yield from _shard(origin, url)


def _shard(origin: Origin, url: str) -> Iterator[Line]:
    shard = as_plain(origin, origin.find(url))
    file = origin.open(shard)
    name = url.rpartition("/")[2].partition(".")[0]
    samples = groupby(tar_members(file), key=lambda member: _split(member.name)[0])
    for key, members in samples:
        try:
            variables, size = _variables(file, shard.reference, members)
        except ValueError as error:
            yield Line.bad("invalid_sample", f"{key}: {error}", f"{name}/{key}")
        else:
            yield Line(f"{name}/{key}", {**variables, "name": key}, bytes=size)


def _variables(
    file: RangedFile, reference: str, members: Iterable[ArchiveMember]
) -> tuple[dict[str, str], int]:
    """Raises ValueError."""
    fields: dict[str, str] = {}
    own: dict[str, str] = {}
    size = 0
    for member in members:
        size += member.size
        extension = _split(member.name)[1].lower()
        if extension.endswith(PICTURES):
            own.setdefault("image", f"{reference}#{member.offset}+{member.size}")
        elif extension == ".txt":
            own["txt"] = _content(file, member).decode().strip()
        elif extension == ".json":
            fields |= _fields(_content(file, member))
    return {**fields, **own}, size


def _fields(data: bytes) -> dict[str, str]:
    """What a template can use of a sample's JSON: its texts and numbers."""
    document = from_json(data, allow_inf_nan=False)
    if not isinstance(document, dict):
        raise ValueError("its JSON is not an object")
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in document.items()
        if NAME.fullmatch(name) and isinstance(value, str | int | float)
    }


def _content(file: RangedFile, member: ArchiveMember) -> bytes:
    if member.size > LONGEST_TEXT:
        raise ValueError(f"{member.name} has more than {LONGEST_TEXT} bytes")
    file.seek(member.offset)
    return file.read(member.size)


def _split(path: str) -> tuple[str, str]:
    """`a/b.seg.png` is `a/b` and `.seg.png`."""
    folder, slash, name = path.rpartition("/")
    key, dot, extension = name.partition(".")
    return folder + slash + key, dot + extension
