"""A step's samples on their way through the batcher, and what its worker thread sees of them."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

from shared import logs
from workers.model_events import Preview, Progress, Report
from workers.predictor import Metrics
from workers.savepoints import Savepoint, Savepoints

log = logs.get(__name__)


@dataclass(frozen=True)
class StepResult:
    """What a step's samples gave, in their order.

    `batch_class` is the size of the batches that really ran, less than asked for only after an
    out-of-memory; `run_ms` is the time of all batches that held one of the samples.
    """

    results: list[dict[str, Any]]
    revision: str
    batch_class: int
    run_ms: int


@dataclass(eq=False)
class TicketSample:
    """One sample, from its ticket to its result."""

    ticket: "Ticket"
    place: int
    data: Mapping[str, Any]
    size: int
    since: float
    # With whom alone it shares a batch: anybody, its own ticket's samples, or nobody.
    apart: "Ticket | TicketSample | None" = None
    progress: float = 0.0
    metrics: Metrics = field(default_factory=dict)
    preview: bytes = b""

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.ticket.key, self.size, self.apart and id(self.apart))

    @property
    def rank(self) -> tuple[bool, int]:
        return (not self.ticket.interactive, self.ticket.number)

    @property
    def savepoint(self) -> Savepoint | None:
        """What it goes on from. In another batch class its numbers may differ in the last bits."""
        saved = self.ticket.savepoints and self.ticket.savepoints.newest
        return saved if saved and saved.batch_class == self.size else None

    @property
    def handed(self) -> Mapping[str, Any]:
        """What the model is given."""
        saved = self.savepoint
        return {**self.data, "savepoint": saved.folder} if saved else self.data

    def rewind(self) -> None:
        """It is still to run, or again."""
        saved = self.savepoint
        self.progress = saved.progress if saved else 0.0

    def hear(self, report: Report, place: int) -> None:
        """Take up what is said of a batch in which this sample has the place."""
        if isinstance(report, Progress):
            self.progress = report.done / max(1, report.total)
            self.metrics = report.metrics[place] if report.metrics else {}
            self.ticket.message = report.message
        elif isinstance(report, Preview):
            self.preview = report.pictures[place]
        elif report.place == place and self.ticket.savepoints:
            try:
                self.ticket.savepoints.take(report.files, self.progress, self.size)
            except OSError as error:
                log.info("a savepoint is lost", error=str(error))


@dataclass(eq=False)
class Ticket:
    """The samples of one step, as their worker thread sees them."""

    _drop: Callable[["Ticket"], None]
    number: int
    model: str
    params: Mapping[str, Any]
    key: str
    interactive: bool
    deadline: float | None  # time.monotonic()
    savepoints: Savepoints | None  # of its one sample
    begun_at: float | None = None  # time.monotonic() of its first batch
    begun_from: float = 0.0  # its progress then
    message: str = ""
    samples: list[TicketSample] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    missing: int = 0
    batch_class: int = 0
    run_ms: int = 0
    future: "Future[StepResult]" = field(default_factory=Future)

    @property
    def progress(self) -> float:
        """How much of all samples is done, 0 to 1; `message` says it of the running batch."""
        return sum(sample.progress for sample in self.samples) / len(self.samples)

    @property
    def metrics(self) -> Metrics:
        """The current numbers of the first sample, if it has any."""
        return self.samples[0].metrics

    @property
    def preview(self) -> bytes:
        """What has come of the first sample so far, as JPEG; empty: nothing to show."""
        return self.samples[0].preview

    def begin(self) -> None:
        """The model takes its samples up, or one of them."""
        if self.begun_at is None:
            self.begun_at, self.begun_from = time.monotonic(), self.progress

    def may_end_by(self, limit: float) -> bool:
        """Whether a ticket that has begun would end by then (time.monotonic()) if it goes on as
        it did so far; one that has made no progress yet may."""
        now = time.monotonic()
        if self.begun_at is None or now >= limit:
            return False
        done = self.progress - self.begun_from
        left = 1 - self.progress
        return done <= 0 or now + (now - self.begun_at) * left / done <= limit

    def wait(self, timeout_s: float | None = None) -> bool:
        """True once the ticket has its result or its error."""
        return bool(wait([self.future], timeout_s).done)

    def result(self) -> StepResult:
        """The result, waited for. Raises ImagemillError: StepCanceled, DeadlineExceeded,
        StepInterrupted, OutOfMemory, ModelProcessDied, PredictionFailed, ModelNotAvailable."""
        return self.future.result()

    def cancel(self) -> None:
        """Discard the samples, waiting or running; `result` raises StepCanceled."""
        self._drop(self)
