"""Cutting long text into pieces that a translation model takes whole, losing nothing.

A text is cut into lines, a line at sentence ends, a sentence that is too long at clauses, then
between words, then anywhere between two characters.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

PIECE = 64  # tokens up to which sentences are translated together
LIST_MARK = re.compile(r"(?:[-*+•‣◦–—]|\d{1,3}[.)])\s+")

# A full stop may stand within a sentence; those of other scripts end it with no space after.
_CLOSING = "[\"'”’»)\\]」』）》】]*"
_SENTENCE_END = re.compile(rf"[.!?…]+{_CLOSING}\s+|[。！？｡؟۔।॥։።။។།]+[.!?…]*{_CLOSING}\s*")
_CLAUSE_END = re.compile(rf"[,;:]{_CLOSING}\s+|[،؛、，；：፣၊]{_CLOSING}\s*|\s[–—-]\s+")
_WORD_END = re.compile(r"\s+")
_ABBREVIATED = """
    approx bd bzw ca capt cf co col corp dept dr dra ed eds eg etc fig figs gen gov hr ie inc jr lt
    ltd mio mlle mme mr mrs ms mt no nos nr nro op pp prof rep rev sen sgt sig sr sra srta st str
    tel usw vol vs zb jan feb mar apr jun jul aug sep sept oct nov dec
"""
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())


def clean(text: str) -> str:
    """The text without what no tokenizer takes: control characters are left out, half a
    surrogate pair becomes U+FFFD. Line ends and tabs stay."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "".join(c for c in whole if c in "\n\r\t" or unicodedata.category(c) != "Cc")


def lines_of(text: str) -> list[tuple[str, str]]:
    """(gap, line) pairs that joined give the text, the last line empty.

    A gap is what is not translated: line ends, indentation, the mark of a list's item, and lines
    without a letter or digit.
    """
    lines: list[tuple[str, str]] = []
    gap = ""
    for number, line in enumerate(text.split("\n")):
        gap += "\n" if number else ""
        body = line.strip()
        mark = LIST_MARK.match(body)
        body = body[mark.end() :] if mark else body
        if not any(map(str.isalnum, body)):
            gap += line
            continue
        before, _, after = line.rpartition(body)
        lines.append((gap + before, body))
        gap = after
    return [*lines, (gap, "")]


def pieces_of(line: str, length: Callable[[str], int], limit: int, piece: int = PIECE) -> list[str]:
    """A line in pieces of less than `limit` tokens; short sentences stay together while they
    have less than `piece`. `length` counts a text's tokens."""
    parts = _cut(line, length, limit, min(piece, limit), (sentences, clauses, words))
    return [part for part in map(str.strip, parts) if part]


def _cut(
    text: str,
    length: Callable[[str], int],
    limit: int,
    most: int,
    levels: Sequence[Callable[[str], list[str]]],
) -> Iterator[str]:
    if length(text) < most or len(text) < 2:
        yield text
    elif levels:
        for run in _packed(levels[0](text), length, most):
            if length(run) < limit:
                yield run
            else:
                yield from _cut(run, length, limit, limit, levels[1:])
    else:
        middle = _middle(text)
        yield from _cut(text[:middle], length, limit, limit, ())
        yield from _cut(text[middle:], length, limit, limit, ())


def _packed(parts: Sequence[str], length: Callable[[str], int], most: int) -> list[str]:
    """The parts joined, in order, into as few as have less than `most` tokens by the sum of
    their own: to count every join would take quadratic time."""
    around = length("")  # the marks that a model wants around any text
    runs: list[str] = []
    room = 0
    for part in parts:
        tokens = length(part) - around
        if runs and tokens < room:
            runs[-1] += part
        else:
            runs.append(part)
            room = most - around
        room -= tokens
    return runs


def sentences(text: str) -> list[str]:
    """The sentences, each with the space after it."""
    return _split(text, (end for end in _SENTENCE_END.finditer(text) if _ends_sentence(end)))


def clauses(text: str) -> list[str]:
    """What stands between commas and the like, each with the space after it."""
    return _split(text, _CLAUSE_END.finditer(text))


def words(text: str) -> list[str]:
    """The words, each with the space after it."""
    return _split(text, _WORD_END.finditer(text))


def _split(text: str, ends: Iterator[re.Match[str]]) -> list[str]:
    places = [0, *(end.end() for end in ends), len(text)]
    return [text[a:b] for a, b in pairwise(places) if a < b]


def _ends_sentence(end: re.Match[str]) -> bool:
    """Whether a sentence ends here, and not an abbreviation, an initial or a number."""
    if end[0][0] not in ".!?…":
        return True
    after = end.string[end.end() : end.end() + 1]
    if after.islower():
        return False
    if end[0].rstrip() != ".":
        return True
    before = end.string[max(0, end.start() - 20) : end.start()]
    word = re.split(r"[\s(\[\"'“«]", before)[-1]
    letters = word.replace(".", "").lower()
    dotted = "." in word and all(len(part) < 2 for part in word.split("."))  # e.g, U.S
    initial = len(letters) == 1 and letters.isalpha()
    return not (after.isdigit() or initial or dotted or letters in _ABBREVIATIONS)


def _middle(text: str) -> int:
    """About half of the length, and not within what is seen as one character."""
    for place in range(len(text) // 2, 0, -1):
        after = text[place]
        joins = unicodedata.category(after) in ("Mn", "Mc", "Me", "Sk") or after == "\u200d"
        if not joins and text[place - 1] != "\u200d":
            return place
    return len(text) // 2
