"""A file of requests: lines `{custom_id, method, url, body}`."""

from collections.abc import Iterator
from typing import Any

from api.batches.sources.json_lines import json_lines
from api.batches.sources.line import Line, LineError
from api.batches.sources.stored import Origin


def lines(origin: Origin, file_id: str, endpoint: str) -> Iterator[Line]:
    stream = origin.stream(origin.find(file_id))
    for number, parsed, size in json_lines(stream):
        if isinstance(parsed, LineError):
            yield Line(None, error=parsed, line=number)
        elif error := _wrong(parsed, endpoint):
            yield Line(parsed.get("custom_id"), error=error, line=number)
        else:
            yield Line(parsed.get("custom_id"), body=parsed["body"], line=number, bytes=size)


def _wrong(request: dict[str, Any], endpoint: str) -> LineError | None:
    if request.get("url", endpoint) != endpoint:
        return LineError("mixed_endpoints", f"its url is not the batch's endpoint {endpoint}")
    if request.get("method", "POST") != "POST":
        return LineError("invalid_line", "its method is not POST")
    if not isinstance(request.get("body"), dict):
        return LineError("invalid_line", "its body is not a JSON object")
    return None
