"""Edits of a text: what each does, what is refused, and that none can hang."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.edits import TEMPLATE_FIELDS, Edits, edited
from shared.errors import PromptRejected
from shared.kind import MAX_TEXT

EDITS = TypeAdapter(Edits)
READ = {"caption": "a dog", "ocr": "BEWARE"}


def after(text: str, *edits: dict[str, Any]) -> str:
    return edited(text, EDITS.validate_python(list(edits)), READ)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"op": "append", "text": "in snow"}, "a dog in snow"),
        ({"op": "append", "text": ", in snow"}, "a dog, in snow"),
        ({"op": "append", "text": " in snow"}, "a dog in snow"),
        ({"op": "prepend", "text": "a photo of"}, "a photo of a dog"),
        ({"op": "replace", "find": "dog", "with": "cat"}, "a cat"),
        ({"op": "replace", "find": "d.g", "with": "cat"}, "a dog"),
        ({"op": "replace", "find": "d(.)g", "with": r"c\1t", "regex": True}, "a cot"),
        (
            {"op": "replace", "find": "(?P<x>a) ", "with": r"\g<x>n old ", "regex": True},
            "an old dog",
        ),
        ({"op": "replace", "find": "^", "with": "see ", "regex": True}, "see a dog"),
        ({"op": "template", "template": "a watercolour of {text}"}, "a watercolour of a dog"),
        (
            {"op": "template", "template": "{caption} with a sign: {ocr}"},
            "a dog with a sign: BEWARE",
        ),
        ({"op": "template", "template": "{{text}}"}, "{text}"),
    ],
)
def test_what_an_edit_does(edit: dict[str, Any], expected: str) -> None:
    assert after("a dog", edit) == expected


def test_edits_follow_each_other() -> None:
    assert (
        after(
            "a dog",
            {"op": "replace", "find": "dog", "with": "cat"},
            {"op": "template", "template": "{text}, not {caption}"},
            {"op": "append", "text": "!"},
        )
        == "a cat, not a dog!"
    )


@pytest.mark.parametrize(
    "edits",
    [
        [{"op": "replace", "find": ".*", "with": "", "regex": True}],
        [{"op": "replace", "find": "a dog", "with": "  "}],
    ],
)
def test_an_edit_may_not_empty_the_text(edits: list[dict[str, Any]]) -> None:
    with pytest.raises(PromptRejected, match="nothing is left"):
        after("a dog", *edits)


def test_an_edit_may_not_blow_the_text_up() -> None:
    with pytest.raises(PromptRejected, match=str(MAX_TEXT)):
        after("a" * 100, {"op": "replace", "find": "a", "with": "b" * 100})


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"op": "erase"}, "op"),
        ({"op": "append", "text": ""}, "at least 1 character"),
        ({"op": "append", "text": "a", "regex": True}, "Extra inputs"),
        ({"op": "replace", "find": "", "with": "a"}, "at least 1 character"),
        ({"op": "replace", "find": "(", "with": "a", "regex": True}, "missing"),
        (
            {"op": "replace", "find": "(?=a)", "with": "a", "regex": True},
            "not a regular expression",
        ),
        ({"op": "replace", "find": "a{1000}{1000}", "with": "", "regex": True}, "not a regular"),
        ({"op": "replace", "find": "a", "with": r"\1", "regex": True}, "names a group"),
        ({"op": "replace", "find": "a", "with": r"\g<x>", "regex": True}, "names a group"),
        ({"op": "template", "template": "a {dog}"}, "unknown field {dog}"),
        ({"op": "template", "template": "a {}"}, "unknown field {}"),
        ({"op": "template", "template": "a {text.__class__}"}, "unknown field"),
        ({"op": "template", "template": "a {text!r}"}, "unknown field"),
        ({"op": "template", "template": "a {text:>9999999}"}, "unknown field"),
        ({"op": "template", "template": "a {text"}, "expected '}'"),
    ],
)
def test_an_edit_that_cannot_work_is_refused(edit: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        EDITS.validate_python([edit])
    assert reason in str(caught.value)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){25}", "(a|a?)+b"])
def test_no_pattern_takes_longer_than_the_text(pattern: str) -> None:
    """Patterns that keep a backtracking engine busy for ages."""
    edit = {"op": "replace", "find": pattern, "with": "", "regex": True}
    text = "a" * (MAX_TEXT - 10) + "!"
    assert set(after(text, edit, {"op": "append", "text": "."})) <= set("a!.")


@given(st.text(max_size=50), st.text(min_size=1, max_size=20))
def test_any_pattern_and_text_are_handled(text: str, pattern: str) -> None:
    try:
        edits = EDITS.validate_python(
            [{"op": "replace", "find": pattern, "with": "x", "regex": True}]
        )
    except ValidationError:
        return
    try:
        assert edited(text, edits, READ)
    except PromptRejected:
        assert len(text) < MAX_TEXT


@given(st.text(max_size=40))
def test_a_template_that_is_accepted_can_be_filled(template: str) -> None:
    try:
        edits = EDITS.validate_python([{"op": "template", "template": template}])
    except ValidationError:
        return
    assert edits[0].fields <= set(TEMPLATE_FIELDS)
    try:
        edited("a dog", edits, READ)
    except PromptRejected:
        assert not template.strip()
