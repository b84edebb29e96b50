"""A manifest: lines of variables for a template, as `{"image": "s3://…", "question": "…"}`."""

import json
import re
from collections.abc import Iterator
from typing import Any

from api.batches.sources.json_lines import json_lines
from api.batches.sources.line import Line, LineError, stem
from api.batches.sources.stored import Origin

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # as `string.Template` knows them


def lines(origin: Origin, reference: str) -> Iterator[Line]:
    for number, parsed, size in json_lines(origin.stream(origin.find(reference))):
        if isinstance(parsed, LineError):
            yield Line(None, error=parsed, line=number)
        else:
            yield _line(parsed, number, size)


def _line(values: dict[str, Any], number: int, size: int) -> Line:
    custom_id = values.pop("custom_id", f"line-{number}")
    variables = {}
    for name, value in values.items():
        if not NAME.fullmatch(name) or isinstance(value, dict | list) or value is None:
            message = f"{name[:100]!r} is no variable: a name, and a text or number"
            return Line.bad("invalid_line", message, custom_id, number)
        variables[name] = value if isinstance(value, str) else json.dumps(value)
    if "image" in variables:
        variables.setdefault("name", stem(variables["image"].rpartition("/")[2]))
    return Line(custom_id, variables, line=number, bytes=size)
