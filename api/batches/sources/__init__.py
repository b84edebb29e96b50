"""What batches are read from: one module a source, each of which gives its lines as a stream.

A line that is of no use is an item with an error. What makes a whole source useless is raised:
NotFound, InvalidRequest, InvalidArchive, InvalidDataset.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from api.batches.sources import archive, coco, jsonl, manifest, pairs, s3_prefix, webdataset
from api.batches.sources.line import Line
from api.batches.sources.stored import Origin
from api.services import Services
from shared.batches import BatchRecord

ALWAYS = frozenset({"image", "name", "index"})


def lines(services: Services, batch: BatchRecord) -> Iterator[Line]:
    """The items of a batch, in their order: the same ones each time, as long as its source is
    the same. Raises what the sources raise, StorageUnavailable and LedgerUnavailable."""
    origin, request = Origin(services, batch), batch.request
    if "input_file_id" in request:
        return jsonl.lines(origin, request["input_file_id"], request["endpoint"])
    return _lines(origin, request["source"])


def variables(source: Mapping[str, Any]) -> frozenset[str] | None:
    """The names that a source gives values to. None: any; its lines say which."""
    match source["type"]:
        case "manifest" | "webdataset":
            return None
        case "coco":
            return ALWAYS | {"caption", "id"}
        case "pairs":
            first = variables(source["first"])
            return None if first is None else first | {"first", "second"}
    return ALWAYS


def _lines(origin: Origin, source: Mapping[str, Any]) -> Iterator[Line]:
    match source["type"]:
        case "manifest":
            return manifest.lines(origin, _reference(source))
        case "s3_prefix":
            return s3_prefix.lines(origin, source["url"], source.get("recursive", True))
        case "archive":
            return archive.lines(origin, _reference(source))
        case "webdataset":
            return webdataset.lines(origin, source.get("urls"), source.get("prefix") or "")
        case "coco":
            return coco.lines(origin, source["annotations"], source["images"])
        case "pairs":
            first, second = (_lines(origin, source[name]) for name in ("first", "second"))
            return pairs.lines(first, second, source.get("match", "name"), source.get("seed", 0))
    raise ValueError(f"no such source: {source['type']}")


def _reference(source: Mapping[str, Any]) -> str:
    return source.get("file_id") or source["url"]
