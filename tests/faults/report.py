"""What a run of the fault table came to, for the terminal and for docs/reliability.md."""

from collections.abc import Iterable, Iterator

from tests.faults.rows import Result

ROWS = 17

HEADER = ("row", "fault", "rounds", "jobs", "lost", "doubled", "extra executions", "slowest")


def cells(result: Result) -> tuple[str, ...]:
    return (
        f"{result.number}",
        result.title,
        f"{result.rounds}",
        f"{result.jobs}",
        f"{result.lost}",
        f"{result.doubled}",
        f"{result.extra}",
        f"{result.slowest_s:.1f} s",
    )


def table(results: Iterable[Result]) -> Iterator[str]:
    """A Markdown table, line by line."""
    yield f"| {' | '.join(HEADER)} |"
    yield "|" + "---|" * len(HEADER)
    for result in sorted(results, key=lambda result: result.number):
        yield f"| {' | '.join(cells(result))} |"


def verdict(results: Iterable[Result]) -> str:
    """The last line: `17/17 rows, 0 lost, 0 doubled`."""
    results = list(results)
    passed = sum(result.passed for result in results)
    lost = sum(result.lost for result in results)
    doubled = sum(result.doubled for result in results)
    return f"{passed}/{ROWS} rows, {lost} lost, {doubled} doubled"
