"""What a benchmark is, and what it leaves behind."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.machine import machine
from bench.paired import Comparison, Spread

RESULTS = Path(__file__).with_name("results")
HEADER = ("what", "asked", "measured", "pairs' quartiles", "plain", "ours", "")
FACTS = ("what", "asked", "measured")


def nothing_missing() -> None:
    """Runs anywhere."""


@dataclass(frozen=True)
class Row:
    """One ratio; `asked` is what it should be at least, and `note` what else was seen."""

    what: str
    comparison: Comparison
    asked: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Fact:
    """Something that is no comparison of two times; `asked` and `measured` with their units."""

    what: str
    asked: str
    measured: str


Found = Row | Fact


@dataclass(frozen=True)
class Benchmark:
    """A measurement: its title, how it is done, and `run`, which does it.

    `missing` says what it needs and this machine lacks, if anything.
    """

    title: str
    method: str
    run: Callable[[], Iterable[Found]]
    missing: Callable[[], str | None] = nothing_missing


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, below HEADER."""
    pairs = row.comparison.by_pair
    plain, ours = (Spread.of(side).median for side in (row.comparison.plain, row.comparison.ours))
    return (
        row.what,
        f"≥ {row.asked:g} ×" if row.asked else "",
        f"{row.comparison.speedup:.2f} ×",
        f"{pairs.low:.2f}–{pairs.high:.2f}",
        f"{plain:.4g} s",
        f"{ours:.4g} s",
        row.note,
    )


def table(*lines: Sequence[str]) -> list[str]:
    """Markdown with columns of even width; the first of the lines is the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return rows


def report(benchmark: Benchmark, found: Sequence[Found]) -> str:
    """The measurement as a page of Markdown, which reads well on a terminal too."""
    rows = [each for each in found if isinstance(each, Row)]
    facts = [each for each in found if isinstance(each, Fact)]
    lines = table(HEADER, *map(cells, rows))
    if facts:
        lines += ["", *table(FACTS, *((each.what, each.asked, each.measured) for each in facts))]
    on = "; ".join(f"{name} {value}" for name, value in machine().items())
    return "\n".join(
        [f"# {benchmark.title}", "", benchmark.method, "", *lines, "", f"On: {on}.", ""]
    )


def keep(name: str, benchmark: Benchmark, found: Sequence[Found], folder: Path = RESULTS) -> None:
    """Writes `<name>.md`, the page, and `<name>.json`, every single time, into the folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(report(benchmark, found))
    record = {
        "title": benchmark.title,
        "method": benchmark.method,
        "machine": machine(),
        "rows": [
            {
                **asdict(row),
                "speedup": row.comparison.speedup,
                "by_pair": asdict(row.comparison.by_pair),
            }
            for row in found
            if isinstance(row, Row)
        ],
        "facts": [asdict(fact) for fact in found if isinstance(fact, Fact)],
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
