"""The job that a batch makes of every item, from the options of a command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagemill.cli.batch.sources import form_of
from imagemill.cli.run import pairs
from imagemill.errors import InvalidInput
from imagemill.inputs import FILE_FIELDS, REFERENCE, Upload, as_upload

MASK = "mask"  # the picture that a pair of pictures does without


def template(
    given: Sequence[str],
    kind: str | None,
    match: str | None,
    fields: Sequence[str],
    translate_to: Sequence[str],
    models: Sequence[str],
) -> dict[str, Any] | None:
    """The job of every item of the sources; None where one holds whole requests.

    `fields` are `NAME=VALUE`: JSON, or texts where they are none. A field that is a picture
    becomes an Upload where its value is a file. Raises InvalidInput.
    """
    if len(given) != (2 if match else 1):
        wanted = "two sources with" if match else "one source without"
        raise InvalidInput(f"expected {wanted} --pairs: {len(given)} given")
    if kind is None:
        if form_of(given[0]) != "manifest" or given[0].startswith("s3://"):
            raise InvalidInput("--kind is missing: what shall be done with each picture?")
        return None
    kind = kind.replace("-", "_")
    pictures = FILE_FIELDS.get(kind, ())
    content = _items_own(kind, pictures, paired=bool(match))
    for name, text in pairs("--set", fields).items():
        content[name] = _picture(name, text) if name in pictures else _value(text)
    if translate_to:
        content["translate_to"] = list(translate_to)
    if "$" not in json.dumps(content, default=str):
        raise InvalidInput(f"say what {kind} shall do with an item: --set FIELD='$image'")
    job: dict[str, Any] = {"kind": kind, "input": content}
    if models:
        job["models"] = pairs("--model", models)
    return job


def _items_own(kind: str, pictures: Sequence[str], *, paired: bool) -> dict[str, Any]:
    """The fields in which `$image`, or `$first` and `$second`, stand for an item's own."""
    if not paired:
        return {pictures[0]: "$image"} if pictures else {}
    pair = [name for name in pictures if name != MASK]
    if len(pair) != 2:
        raise InvalidInput(f"--pairs: {kind} does not take two pictures")
    return dict(zip(pair, ("$first", "$second"), strict=True))


def _picture(name: str, text: str) -> str | Upload | None:
    if text.startswith("$") or REFERENCE.match(text):
        return text
    return as_upload(name, Path(text))


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text
