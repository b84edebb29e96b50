"""Editing a text between reading it from a picture and drawing it.

Edits are applied in order, each to what the one before it left. Regular expressions are RE2's:
they run in linear time whatever the pattern and the text, and so know no look-around and no
back-references within the pattern.
"""

import string
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Protocol

import re2
from pydantic import Field, field_validator, model_validator

from shared.errors import PromptRejected
from shared.kind import MAX_TEXT, KindInput, Text

MAX_EDITS = 16
TEMPLATE_FIELDS = ("caption", "ocr", "text")
NO_SPACE_BEFORE = ",.;:!?)]}…،؛؟。，、"


class _Edit(Protocol):
    def apply(self, text: str, read: Mapping[str, str]) -> str: ...


class Append(KindInput):
    """Words after the text, with a space between where neither brings one."""

    op: Literal["append"]
    text: Text

    def apply(self, text: str, read: Mapping[str, str]) -> str:
        return joined(text, self.text)


class Prepend(KindInput):
    """Words before the text, with a space between where neither brings one."""

    op: Literal["prepend"]
    text: Text

    def apply(self, text: str, read: Mapping[str, str]) -> str:
        return joined(self.text, text)


class Replace(KindInput):
    r"""Every occurrence of `find`; with `regex`, `with` may name groups: `\1`, `\g<name>`."""

    op: Literal["replace"]
    find: Annotated[str, Field(min_length=1, max_length=1000)]
    with_: Annotated[str, Field(alias="with", max_length=MAX_TEXT)]
    regex: bool = False

    @model_validator(mode="after")
    def _compiles(self) -> "Replace":
        if not self.regex:
            return self
        try:
            pattern = compiled(self.find)
        except re2.error as error:
            raise ValueError(f"not a regular expression of RE2: {_message(error)}") from None
        try:
            compiled(f"(?:{self.find})|").sub(self.with_, "")  # matches even an empty text
        except (IndexError, KeyError, re2.error):
            raise ValueError(
                f"`with` names a group that is not among the {pattern.groups}"
            ) from None
        return self

    def apply(self, text: str, read: Mapping[str, str]) -> str:
        if not self.regex:
            return text.replace(self.find, self.with_)
        return str(compiled(self.find).sub(self.with_, text))


class Template(KindInput):
    """A sentence about what was read: `{caption}`, `{ocr}`, and `{text}`, the text so far."""

    op: Literal["template"]
    template: Text

    @field_validator("template")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        for name, spec, conversion in _fields(value):
            if name not in TEMPLATE_FIELDS or spec or conversion:
                known = ", ".join(f"{{{each}}}" for each in TEMPLATE_FIELDS)
                raise ValueError(f"unknown field {{{name}}}; known are {known}")
        return value

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields that the template uses."""
        return frozenset(name for name, _, _ in _fields(self.template))

    def apply(self, text: str, read: Mapping[str, str]) -> str:
        return self.template.format(**{**read, "text": text})


Edit = Annotated[Append | Prepend | Replace | Template, Field(discriminator="op")]
Edits = Annotated[list[Edit], Field(max_length=MAX_EDITS)]


def edited(text: str, edits: Sequence[_Edit], read: Mapping[str, str]) -> str:
    """The text after all edits; `read` holds what was read, by the names of template fields.

    Raises PromptRejected where nothing is left, or more than MAX_TEXT characters.
    """
    for edit in edits:
        text = edit.apply(text, read)
        if len(text) > MAX_TEXT:
            raise PromptRejected(f"the edited text has more than {MAX_TEXT} characters")
    if not text.strip():
        raise PromptRejected("nothing is left to draw: the edited text is empty")
    return text.strip()


def joined(left: str, right: str) -> str:
    """Two texts with a space between, unless one of them brings it or is empty."""
    bare = not left or not right or left[-1].isspace() or right[0].isspace()
    return left + ("" if bare or right[0] in NO_SPACE_BEFORE else " ") + right


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def compiled(pattern: str) -> Any:
    """The pattern, ready to use. Raises re2.error."""
    return re2.compile(pattern, _options())


def _message(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _fields(template: str) -> list[tuple[str, str, str]]:
    """(name, format, conversion) of every field. Raises ValueError: unbalanced braces."""
    parsed = string.Formatter().parse(template)
    return [(name, spec or "", conv or "") for _, name, spec, conv in parsed if name is not None]
