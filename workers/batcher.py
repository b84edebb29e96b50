"""The micro-batcher: many worker threads hand in samples, one model process gets full batches.

Samples share a batch when they agree on model, parameters and batch class. A batch always runs
at its class's fixed size, so that sharing never changes a result; the batcher only decides who
goes when, and whom a failure concerns.
"""

import itertools
import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shared import logs
from shared.errors import (
    DeadlineExceeded,
    ImagemillError,
    ModelProcessDied,
    OutOfMemory,
    PredictionFailed,
    StepCanceled,
    StepInterrupted,
)
from workers.model_events import Report
from workers.model_process import ModelNotReady, ModelProcess, NotBegun, Prediction
from workers.predictor import Batch
from workers.queue_order import SWITCH_S
from workers.savepoints import Savepoints
from workers.tickets import StepResult, Ticket, TicketSample

log = logs.get(__name__)

TICK_S = 0.1  # how often deadlines are looked at
LOOK_AHEAD_S = 0.02  # how often, while a batch runs, for the one after it
LINGER_S = {True: 0.02, False: 0.1}  # interactive or not: the wait for company in a batch
PATIENCE_S = 10.0  # for a model to stop at its next step, before its process is killed
LOAD_LIMIT_S = 1800.0  # for a model to load, which nothing interrupts, before the same


@dataclass
class _Ordered:
    """A batch that the model process has been told to run."""

    group: list[TicketSample]
    future: "Future[Prediction]"
    withdrawn: bool = False  # as far as it has not begun


class MicroBatcher:
    """Groups samples for one model process. Every method may be called from any thread."""

    def __init__(
        self,
        process: ModelProcess,
        patience_s: float = PATIENCE_S,
        switch_s: float = SWITCH_S,
        load_limit_s: float = LOAD_LIMIT_S,
    ) -> None:
        self._process = process
        self._patience_s = patience_s
        self._switch_s = switch_s
        self._load_limit_s = load_limit_s
        self._switched_at = 0.0  # time.monotonic(), when a model was loaded last
        self._died_loading = ""  # the model whose load, the last one, ended the process
        self._numbers = itertools.count()
        self._changed = threading.Condition(threading.RLock())
        self._tickets: set[Ticket] = set()  # without a result
        self._waiting: list[TicketSample] = []
        self._running: _Ordered | None = None
        self._ahead: _Ordered | None = None  # follows it at once; its samples wait until then
        self._closed = False
        self._thread = threading.Thread(target=self._dispatch, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        model: str,
        params: Mapping[str, Any],
        batch_class: int,
        samples: Sequence[Mapping[str, Any]],
        interactive: bool = True,
        timeout_s: float | None = None,
        alone: bool = False,
        savepoints: Savepoints | None = None,
    ) -> Ticket:
        """Hand in a step's samples. After `timeout_s` the ticket fails with DeadlineExceeded.

        `alone`: in batches with no other step, for one that may kill its model process.
        `savepoints`: where a lone sample's savepoints are kept, from the newest of which it goes
        on, now and after a death of the model process; of several samples none is kept.
        Raises StepInterrupted once the batcher is closed.
        """
        if not samples:
            raise ValueError("a step has at least one sample")
        now = time.monotonic()
        ticket = Ticket(
            self._cancel,
            next(self._numbers),
            model,
            params,
            json.dumps([model, params], sort_keys=True),
            interactive,
            None if timeout_s is None else now + timeout_s,
            savepoints if len(samples) == 1 else None,
            results=[None] * len(samples),
            missing=len(samples),
            batch_class=batch_class,
        )
        saved = ticket.savepoints and ticket.savepoints.newest
        size = min(batch_class, saved.batch_class) if saved else batch_class
        ticket.samples = [
            TicketSample(ticket, place, data, size, now, ticket if alone else None)
            for place, data in enumerate(samples)
        ]
        for sample in ticket.samples:
            sample.rewind()
        with self._changed:
            if self._closed:
                raise StepInterrupted("the worker is shutting down")
            self._tickets.add(ticket)
            self._waiting += ticket.samples
            if self._ahead and ticket.samples[0].rank < self._ahead.group[0].rank:
                self._withdraw(self._ahead)
            self._changed.notify_all()
        return ticket

    def may_end_within(self, seconds: float) -> bool:
        """Whether the model may be free by then: true of a batch that tells no progress."""
        limit = time.monotonic() + seconds
        with self._changed:
            group = self._running.group if self._running else []
            wanted = {sample.ticket for sample in group} & self._tickets
            return not wanted or any(ticket.may_end_by(limit) for ticket in wanted)

    def revision(self, model: str) -> str:
        """Of the files that the model is loaded from."""
        return self._process.revisions[model]

    def close(self, grace_s: float = 0.0) -> None:
        """Take nothing new, and let end what will end within the grace.

        The other tickets fail with StepInterrupted: at once where the model has not begun them,
        else as soon as their progress tells that they would take longer. A second call, from
        another thread, cuts the grace of the first one short.
        """
        limit = time.monotonic() + grace_s
        with self._changed:
            self._closed = True
            while True:
                hopeless = [each for each in self._tickets if not each.may_end_by(limit)]
                self._fail(hopeless, StepInterrupted("the worker is shutting down"))
                if not self._tickets:
                    return
                self._changed.wait(min(TICK_S, max(0.0, limit - time.monotonic())))

    def _dispatch(self) -> None:
        while True:
            self._expire()
            try:
                ready = self._process.wait_ready(TICK_S)
            except ImagemillError as error:
                with self._changed:
                    self._fail(list(self._tickets), error)
                    self._changed.wait(TICK_S)
                ready = False
            with self._changed:
                if self._closed and not self._tickets:
                    return
                group = self._take() if ready else []
                first = self._first() if ready and not group else None
                missing = first is not None and first.ticket.model not in self._process.held
                if ready and not group and not missing:
                    self._changed.wait(max(0.0, self._linger_s(first)) if first else TICK_S)
            if group:
                self._run(group)
            elif first and missing:
                self._hold(first.ticket.model)

    def _first(self) -> TicketSample | None:
        """The sample whose turn it is: the oldest of the most urgent, or the oldest of those
        whose model is in memory. They go first for `switch_s`, counted from when the other one
        came or, where models take turns, from when theirs was loaded."""
        if not self._waiting:
            return None
        first = min(self._waiting, key=lambda sample: sample.rank)
        held = self._process.held
        if time.monotonic() - max(first.since, self._switched_at) >= self._switch_s:
            return first
        preferred = (
            sample
            for sample in self._waiting
            if sample.ticket.model in held and sample.ticket.interactive == first.ticket.interactive
        )
        return min(preferred, key=lambda sample: sample.rank, default=first)

    def _hold(self, model: str) -> None:
        """Have a model loaded. Until then its tickets have not begun, and may go.

        They fail where that is not possible: after two deaths, for one may be an accident.
        """
        limit = time.monotonic() + self._load_limit_s
        try:
            future = self._process.hold(model)
            while not wait([future], TICK_S).done:
                self._expire()
                if time.monotonic() >= limit:
                    log.warning("the model does not load: its process is killed", model=model)
                    self._process.kill()
            future.result()
        except ModelNotReady:  # it died while idle
            return
        except ModelProcessDied as error:
            if self._died_loading == model:
                self._fail_model(model, error)
            self._died_loading = model
        except ImagemillError as error:
            self._fail_model(model, error)
        else:
            self._died_loading = ""
        self._switched_at = time.monotonic()

    def _next(self) -> list[TicketSample]:
        """The batch that may begin now; empty where company is waited for, or a model is to be
        loaded."""
        first = self._first()
        if first is None or first.ticket.model not in self._process.held:
            return []
        same = [sample for sample in self._waiting if sample.key == first.key]
        group = sorted(same, key=lambda sample: sample.rank)[: first.size]
        if len(group) < first.size and first.apart is None and self._linger_s(first) > 0:
            return []
        return group

    def _take(self) -> list[TicketSample]:
        """The same, which waits no longer."""
        group = self._next()
        self._take_up(group)
        return group

    def _take_up(self, group: list[TicketSample]) -> None:
        for sample in group:
            if sample in self._waiting:  # else nobody wants it any more
                self._waiting.remove(sample)
                sample.ticket.begin()

    def _linger_s(self, first: TicketSample) -> float:
        return first.since + LINGER_S[first.ticket.interactive] - time.monotonic()

    def _run(self, group: list[TicketSample]) -> None:
        """Run a batch, and what may follow it at once."""
        running = self._begin(group)
        while running:
            running = self._end(running)
            self._expire()
        with self._changed:
            self._running = None
            self._changed.notify_all()

    def _begin(self, group: list[TicketSample]) -> _Ordered | None:
        try:
            self._running = self._order(group)
            return self._running
        except ModelNotReady:  # it died while idle
            self._again(group)
        except Exception as error:
            self._unexpected(group, error)
        return None

    def _order(self, group: list[TicketSample]) -> _Ordered:
        """Raises ModelNotReady, and what cannot be pickled."""

        def hear(report: Report) -> None:
            with self._changed:
                for place, sample in enumerate(group):
                    if sample.ticket in self._tickets:
                        sample.hear(report, place)

        return _Ordered(group, self._process.submit(batch_of(group), hear))

    def _end(self, running: _Ordered) -> _Ordered | None:
        """Wait for a batch; → the one after it. What was not ordered ahead is ordered before the
        results of this one are given out: the model does not wait for those who take them."""
        group = running.group
        self._watch(running)
        following = self._follow()
        try:
            prediction = running.future.result()
            if (count := len(prediction.results)) != len(group):
                raise PredictionFailed(f"the model gave {count} results for {len(group)} samples")
        except NotBegun:
            self._again(group)
        except ModelProcessDied as error:
            self._isolate(group, error, final=group[0].apart is not None)
        except OutOfMemory as error:
            lone = group[0].apart is group[0]
            self._isolate(group, error, final=lone and group[0].size == 1, size=1)
        except ImagemillError as error:
            self._isolate(group, error, final=len(group) == 1)
        except Exception as error:
            self._unexpected(group, error)
        else:
            if not following:
                with self._changed:
                    taken = self._take()
                following = self._begin(taken) if taken else None
            self._finish(group, prediction)
        return following

    def _follow(self) -> _Ordered | None:
        """The batch that was ordered ahead: the model is at it, or answers that it is not."""
        with self._changed:
            self._running, self._ahead = self._ahead, None
            if self._running:
                self._take_up(self._running.group)
            return self._running

    def _unexpected(self, group: list[TicketSample], error: Exception) -> None:
        log.error("a batch failed", model=group[0].ticket.model, exc_info=error)
        self._fail([each.ticket for each in group], PredictionFailed(repr(error)))

    def _watch(self, running: _Ordered) -> None:
        """Wait for the batch; stop it when nobody wants it, kill it when it does not stop."""
        unwanted_since = None
        while not running.future.done():
            self._look_ahead()
            settled = self._ahead and not self._ahead.withdrawn
            if wait([running.future], TICK_S if settled else LOOK_AHEAD_S).done:
                return
            self._expire()
            if any(sample.ticket in self._tickets for sample in running.group):
                continue
            now = time.monotonic()
            if unwanted_since is None:
                unwanted_since = now
                # Again: the first may have come before the batch.
                self._process.cancel(running.future)
            if now - unwanted_since >= self._patience_s:
                log.warning("the model does not stop: its process is killed")
                self._process.kill()
                unwanted_since = now

    def _look_ahead(self) -> None:
        """Order the full batch that would be next if it were now, or withdraw the one that would
        not be any more. One that may end its process is not ordered ahead."""
        with self._changed:
            group = self._next()
            if self._ahead and self._ahead.group != group:
                self._withdraw(self._ahead)
            if self._ahead and not_begun(self._ahead.future):
                self._ahead = None
            if self._ahead or not group or len(group) < group[0].size or group[0].apart:
                return
        with suppress(Exception):  # which comes again, and is told, when its turn has come
            ahead = self._order(group)
            with self._changed:
                self._ahead = ahead
                if self._next() != group:  # something has come meanwhile
                    self._withdraw(ahead)

    def _withdraw(self, ahead: _Ordered) -> None:
        if not ahead.withdrawn:
            ahead.withdrawn = True
            self._process.withdraw(ahead.future)

    def _finish(self, group: list[TicketSample], prediction: Prediction) -> None:
        with self._changed:
            wanted = [sample for sample in group if sample.ticket in self._tickets]
            for ticket in {sample.ticket for sample in wanted}:
                ticket.run_ms += prediction.run_ms
            for sample in wanted:
                ticket, result = sample.ticket, prediction.results[group.index(sample)]
                if isinstance(result, ImagemillError):
                    self._fail([ticket], result)
                if ticket not in self._tickets:
                    continue
                ticket.results[sample.place] = result
                ticket.batch_class = min(ticket.batch_class, sample.size)
                ticket.missing -= 1
                sample.progress = 1.0
                if not ticket.missing:
                    self._tickets.discard(ticket)
                    revision = self.revision(ticket.model)
                    ticket.future.set_result(
                        StepResult(ticket.results, revision, ticket.batch_class, ticket.run_ms)
                    )
            self._changed.notify_all()

    def _isolate(
        self, group: list[TicketSample], error: ImagemillError, final: bool, size: int | None = None
    ) -> None:
        """Run the samples of a failed batch again, each alone; or fail the one that was alone."""
        if final:
            self._fail([sample.ticket for sample in group], error)
            return
        for sample in group:
            sample.apart = sample
            sample.size = size or sample.size
        if wanted := self._again(group):
            log.warning("samples are tried one by one", samples=wanted, error=error.message)

    def _again(self, group: list[TicketSample]) -> int:
        """Put the samples that are still wanted back in the queue; tells how many."""
        with self._changed:
            wanted = [sample for sample in group if sample.ticket in self._tickets]
            for sample in wanted:
                sample.rewind()
            self._waiting += wanted
            return len(wanted)

    def _expire(self) -> None:
        with self._changed:
            now = time.monotonic()
            late = [each for each in self._tickets if each.deadline and each.deadline <= now]
            self._fail(late, DeadlineExceeded("the time for this step is over"))

    def _fail_model(self, model: str, error: ImagemillError) -> None:
        with self._changed:
            self._fail([each for each in self._tickets if each.model == model], error)

    def _cancel(self, ticket: Ticket) -> None:
        self._fail([ticket], StepCanceled("the step was canceled"))

    def _fail(self, tickets: Sequence[Ticket], error: ImagemillError) -> None:
        """Give tickets their error and forget their samples; stop the batch if it has no other."""
        with self._changed:
            failed = self._tickets.intersection(tickets)
            if not failed:
                return
            self._tickets -= failed
            self._waiting = [each for each in self._waiting if each.ticket not in failed]
            running = self._running
            if running and all(sample.ticket not in self._tickets for sample in running.group):
                self._process.cancel(running.future)
            for ticket in failed:
                ticket.future.set_exception(error)
            self._changed.notify_all()


def batch_of(group: Sequence[TicketSample]) -> Batch:
    """What the model is given."""
    ticket = group[0].ticket
    return Batch(ticket.model, ticket.params, group[0].size, [each.handed for each in group])


def not_begun(future: "Future[Prediction]") -> bool:
    """Whether it was answered that the batch has not begun, and will not."""
    return future.done() and isinstance(future.exception(), NotBegun)
