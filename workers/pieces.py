"""Cutting long text into pieces that a translation model takes whole, losing nothing."""

import re
from collections.abc import Callable, Sequence

PIECE = 64  # tokens up to which sentences are translated together
SENTENCE_END = re.compile(r"(?<=[.!?…؟۔।])\s+|(?<=[。！？])\s*")


def pieces_of(line: str, length: Callable[[str], int], limit: int) -> list[str]:
    """A line cut at sentence ends, else between words, else anywhere, into less than `limit`
    tokens; short sentences stay together up to PIECE tokens."""
    if length(line) < min(PIECE, limit):
        return [line]
    sentences = SENTENCE_END.split(line)
    pieces = packed(sentences, length, min(PIECE, limit), " ")
    result = []
    for piece in pieces:
        if length(piece) < limit:
            result.append(piece)
            continue
        for words in packed(piece.split(), length, limit, " "):
            result += halved(words, length, limit)
    return result


def halved(text: str, length: Callable[[str], int], limit: int) -> list[str]:
    """The text in parts of equal length, each under `limit`."""
    if length(text) < limit or len(text) < 2:
        return [text]
    middle = len(text) // 2
    return halved(text[:middle], length, limit) + halved(text[middle:], length, limit)


def packed(parts: Sequence[str], length: Callable[[str], int], limit: int, space: str) -> list[str]:
    """The parts joined, in order, into as few as stay under `limit`; a longer one stands alone."""
    result: list[str] = []
    for part in filter(None, parts):
        if result and length(result[-1] + space + part) < limit:
            result[-1] += space + part
        else:
            result.append(part)
    return result
