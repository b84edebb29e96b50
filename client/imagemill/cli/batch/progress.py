"""How far a batch is, on stderr: bars on a terminal, else a line every few seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from imagemill.batch_records import Batch

EVERY = 5.0  # s between two lines about the same thing

Show = Callable[[str, int, int, str], None]  # what is done, how much of it, of how much, and more


@contextmanager
def progress() -> Iterator[Show]:
    """Shows what is done now; a total of 0 is not known."""
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[more]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield BarProgress(bars)


class BarProgress:
    """One bar for each thing that is done."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, doing: str, done: int, total: int, more: str) -> None:
        if doing not in self.tasks:
            self.tasks[doing] = self.bars.add_task(doing, total=None, more="")
        self.bars.update(self.tasks[doing], completed=done, total=total or None, more=more)


class LineProgress:
    """A line at the beginning and the end of each thing, and every few seconds between."""

    def __init__(self) -> None:
        self.doing = ""
        self.line = ""
        self.due = 0.0

    def __call__(self, doing: str, done: int, total: int, more: str) -> None:
        now = time.monotonic()
        line = " ".join(filter(None, (doing, f"{done}/{total or '?'}", more)))
        if line == self.line or (doing == self.doing and done != total and now < self.due):
            return
        self.doing, self.line, self.due = doing, line, now + EVERY
        print(line, file=sys.stderr, flush=True)


def show_batch(show: Show, batch: Batch) -> None:
    """Where a batch stands: status, failed items, rate, time left."""
    counts = batch.counts
    more = [batch.status.replace("_", " ")]
    if counts.failed:
        more.append(f"{counts.failed} failed")
    if batch.rate:
        more.append(f"{batch.rate:.3g}/s")
    if batch.eta_s is not None:
        more.append(f"{duration(batch.eta_s)} left")
    if batch.next_start:
        start = datetime.fromtimestamp(batch.next_start).astimezone()
        more.append(f"goes on at {start:%Y-%m-%d %H:%M}")
    show(batch.id, counts.ended, counts.total, ", ".join(more))


def duration(seconds: float) -> str:
    """In hours, minutes and seconds, and days where there are any."""
    return str(timedelta(seconds=round(seconds)))
