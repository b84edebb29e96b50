"""Every picture below a prefix of an S3 bucket."""

from collections.abc import Iterator

from api.batches.sources.line import Line, stem
from api.batches.sources.stored import Origin, is_picture


def lines(origin: Origin, url: str, recursive: bool = True) -> Iterator[Line]:
    for path, entry in origin.list(url):
        if is_picture(path) and (recursive or "/" not in path):
            yield Line(path, {"image": url + path, "name": stem(path)}, bytes=entry.bytes)
