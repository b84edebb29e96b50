"""One item of a batch as its source gives it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

LONGEST_ID = 1024  # characters, as an S3 key
VISIBLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")

Variables = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LineError:
    """Why an item can never be run."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Line:
    """`variables` for a template, the `body` of a request, or an `error`.

    `custom_id` is whatever the source has for it, None where there is none. `line` is the place in
    a source of lines, from 1, and `bytes` what the item takes there.
    """

    custom_id: str | None
    variables: Variables | None = None
    body: Mapping[str, Any] | None = None
    error: LineError | None = None
    line: int | None = None
    bytes: int = 0

    @classmethod
    def bad(
        cls, code: str, message: str, custom_id: str | None = None, line: int | None = None
    ) -> "Line":
        return cls(custom_id, error=LineError(code, message), line=line)


def is_custom_id(value: object) -> TypeGuard[str]:
    """Whether an item can be called that, and the folder of its pictures."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_ID
        and VISIBLE.fullmatch(value) is not None
    )


def stem(path: str) -> str:
    """A path without its last extension: what `$name` stands for."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)
