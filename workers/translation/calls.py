"""A batch's texts as calls of a translation model, and its answers as texts again.

A call has a fixed shape, told by a piece's own length and the batch class: so a translation never
depends on the company, and few tokens are spent on padding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from workers.translation.dialects import Dialect
from workers.translation.pieces import pieces_of

WIDTHS = (32, 64, 128, 256, 512, 1024)  # tokens; a piece is padded to the next one above it
UNSPACED = {"Jpan", "Hans", "Hant", "Thai", "Khmr", "Laoo", "Mymr", "Tibt"}
Line = tuple[str, str]  # what stands before it, and the line
Answers = Mapping[tuple[int, int], Mapping[int, str]]  # (sample, line) → place → translation


@dataclass(frozen=True)
class Piece:
    """A part of one sample's text; `line` says where it belongs."""

    sample: int
    line: int
    tokens: Sequence[int]
    width: int
    first: int | None

    @property
    def key(self) -> tuple[int, int | None]:
        """What the pieces of a call must agree on."""
        return self.width, self.first


def cut(
    dialect: Dialect, limit: int, sample: int, lines: Sequence[Line], source: str, target: str
) -> Iterator[Piece]:
    """The pieces of a sample's lines, of less than `limit` tokens each."""

    def encode(text: str) -> list[int]:
        return dialect.encode(text, source, target)

    for number, (_, line) in enumerate(lines):
        if not line:
            continue
        for text in pieces_of(line, lambda text: len(encode(text)), limit, dialect.piece):
            tokens = encode(text)
            # At least one place stays empty. Were all full, the library would drop the mask and
            # take another kernel: a neighbour's length would change this piece's result.
            width = min([each for each in WIDTHS if each > len(tokens)] + [limit])
            yield Piece(sample, number, tokens, width, dialect.first(target))


def groups(pieces: Sequence[Piece], size: int, usual: int) -> Iterator[Sequence[int]]:
    """Calls, as places among the pieces: those that agree on the shape and the first token, and
    among these those of like length, whose translations end at about the same time. `size` and
    `usual` as for `rows`."""
    by_key: dict[tuple[int, int | None], list[int]] = {}
    for place, piece in enumerate(pieces):
        by_key.setdefault(piece.key, []).append(place)
    for (width, _), group in by_key.items():
        group.sort(key=lambda place: len(pieces[place].tokens))
        most = rows(width, size, usual)
        for begin in range(0, len(group), most):
            yield group[begin : begin + most]


def rows(width: int, size: int, usual: int) -> int:
    """Pieces in a call: the batch class, or less where they are longer than the `usual` tokens,
    so that a few long ones neither take more memory nor more time for padding."""
    return max(1, size * min(width, usual) // width)


def join(sample: int, lines: Sequence[Line], target: str, answers: Answers) -> str:
    """A sample's text from its pieces' translations, what stood between its lines as it was."""
    space = "" if target.partition("_")[2] in UNSPACED else " "
    text = ""
    for number, (gap, _) in enumerate(lines):
        by_place = answers.get((sample, number), {})
        text += gap + space.join(by_place[place] for place in sorted(by_place))
    return text
