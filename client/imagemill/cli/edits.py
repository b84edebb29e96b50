"""Options that are small languages of their own: edits of a text, and LoRA adapters."""

from typing import Any

from imagemill.errors import InvalidInput

ARROW = "=>"


def parse_edit(option: str) -> dict[str, Any]:
    """`OP=TEXT` as an edit of the service. Raises InvalidInput.

    >>> parse_edit("replace=dog=>cat")
    {'op': 'replace', 'find': 'dog', 'with': 'cat', 'regex': False}
    """
    op, given, text = option.partition("=")
    match op:
        case "append" | "prepend" if given:
            return {"op": op, "text": text}
        case "template" if given:
            return {"op": op, "template": text}
        case "replace" | "regex" if ARROW in text:
            find, _, new = text.partition(ARROW)
            return {"op": "replace", "find": find, "with": new, "regex": op == "regex"}
        case "replace" | "regex":
            raise InvalidInput(f"--edit {option}: expected {op}=OLD{ARROW}NEW")
    known = "append, prepend, template, replace or regex"
    raise InvalidInput(f"--edit {option}: expected OP=TEXT, OP being {known}")


def parse_lora(option: str) -> dict[str, Any]:
    """`NAME` or `NAME=SCALE` as an adapter of the service. Raises InvalidInput.

    >>> parse_lora("pixel-art=0.8")
    {'name': 'pixel-art', 'scale': 0.8}
    """
    name, given, scale = option.partition("=")
    if not given:
        return {"name": name}
    try:
        return {"name": name, "scale": float(scale)}
    except ValueError:
        raise InvalidInput(f"--lora {option}: {scale!r} is no number") from None
