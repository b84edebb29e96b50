"""Lines of JSON from a stream, of which a bad one harms no other."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

from api.batches.sources.line import LineError

LONGEST = 2**20  # bytes; a larger picture than fits is uploaded and named by its id
BOM = b"\xef\xbb\xbf"

Parsed = dict[str, Any] | LineError


def json_lines(blocks: Iterable[bytes]) -> Iterator[tuple[int, Parsed, int]]:
    """Number (from 1), content and bytes of every line that is not blank."""
    for number, raw in _split(blocks):
        if raw is None:
            yield number, LineError("line_too_long", f"it has more than {LONGEST} bytes"), 0
        elif raw and not raw.isspace():
            yield number, _parse(raw), len(raw)


def _split(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Every line with its number; None for one that is too long to be kept."""
    number, rest, overlong = 1, b"", False
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if number == 1:
                line = line.removeprefix(BOM)
            yield number, None if overlong or len(line) > LONGEST else line
            number, overlong = number + 1, False
        if len(rest) > LONGEST:
            rest, overlong = b"", True
    yield number, None if overlong else rest


def _parse(raw: bytes) -> Parsed:
    try:
        value = from_json(raw, allow_inf_nan=False)
        json.dumps(value, allow_nan=False)  # 1e999 passes as infinity
    except ValueError as error:
        return LineError("invalid_json", f"not valid JSON: {error}")
    if not isinstance(value, dict):
        return LineError("invalid_line", "not a JSON object")
    return value
