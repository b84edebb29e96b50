"""The template of a batch's jobs: a document whose strings name variables, as `$image`."""

from string import Template
from typing import Any

from api.batches.sources.line import Variables


def fill(document: Any, variables: Variables) -> Any:
    """The document with each `$name` or `${name}` replaced that there is a variable for.

    `$$` stands for a dollar sign; what names nothing stays as it is: a price is no variable.
    """
    if isinstance(document, str):
        return Template(document).safe_substitute(variables) if "$" in document else document
    if isinstance(document, dict):
        return {name: fill(value, variables) for name, value in document.items()}
    if isinstance(document, list):
        return [fill(value, variables) for value in document]
    return document


def names(document: Any) -> set[str]:
    """The variables that its strings name."""
    return {name for text in _strings(document) for name in Template(text).get_identifiers()}


def lone(document: Any) -> set[str]:
    """Those that are all of a string: nothing but a variable can be meant."""
    found = names(document)
    texts = set(_strings(document))
    return {name for name in found if texts & {f"${name}", f"${{{name}}}"}}


def _strings(document: Any) -> list[str]:
    if isinstance(document, str):
        return [document]
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        return [text for value in document for text in _strings(value)]
    return []
