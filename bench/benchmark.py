"""What a benchmark is, and what it leaves behind."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.machine import machine
from bench.paired import Comparison, Spread

RESULTS = Path(__file__).with_name("results")
HEADER = ("what", "asked", "measured", "pairs' quartiles", "plain", "ours", "")


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
class Benchmark:
    """A measurement: its title, how it is done, and `run`, which does it.

    `missing` says what it needs and this machine lacks, if anything.
    """

    title: str
    method: str
    run: Callable[[], Iterable[Row]]
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


def report(benchmark: Benchmark, rows: Sequence[Row]) -> str:
    """The measurement as a page of Markdown, which reads well on a terminal too."""
    table = [HEADER, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    facts = "; ".join(f"{name} {value}" for name, value in machine().items())
    return "\n".join(
        [f"# {benchmark.title}", "", benchmark.method, "", *lines, "", f"On: {facts}.", ""]
    )


def keep(name: str, benchmark: Benchmark, rows: Sequence[Row], folder: Path = RESULTS) -> None:
    """Writes `<name>.md`, the page, and `<name>.json`, every single time, into the folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(report(benchmark, rows))
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
            for row in rows
        ],
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
