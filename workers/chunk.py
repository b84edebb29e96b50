"""One step of a chunk job: all of its items, each for itself.

An item that fails leaves its error, and its neighbours go on; what ends a step (a cancel, a
deadline, a lost lease, a shutdown) ends it for all of them.
"""

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, wait
from functools import partial

from shared import logs
from shared.contracts import Item, ItemOutput, JobError, JobRecord, StepOutput
from shared.errors import (
    DeadlineExceeded,
    LeaseLost,
    StepCanceled,
    StepInterrupted,
    StorageUnavailable,
)
from shared.item_jobs import of_item
from shared.layout import attempt_folder, savepoint_folder
from workers.attempt import Attempt, Workbench, known_error
from workers.ended_items import EndedItems
from workers.item_pool import Place
from workers.leases import PROGRESS_PERIOD_S, Lease
from workers.patience import Patience, retry_delay_s
from workers.tickets import StepResult, Ticket

log = logs.get(__name__)


class Chunk:
    """One execution of a step of a chunk job, on the threads of `place`."""

    def __init__(
        self, bench: Workbench, job: JobRecord, lease: Lease, patience: Patience, place: Place
    ) -> None:
        self._bench = bench
        self._job = job
        self._lease = lease
        self._patience = patience
        self._place = place
        self._step = job.steps[lease.step].step
        self._revision = bench.batcher.revision(self._step.model)
        self._batch_class = self._step.batch_class
        self._made: dict[int, ItemOutput] = {}  # by the items' numbers
        self._tickets: set[Ticket] = set()
        self._lock = threading.Lock()

    def run(self) -> StepOutput:
        """Run every item that no earlier step has failed; without any, the model is not asked.

        What an earlier execution kept is gone on from. Raises what ends the step.
        """
        wanted, ended = self._wanted(), self._ended_items()
        if self._lease.fence > 1:
            self._go_on_from(self._patience.outlast(ended.restore))
        items = [item for item in wanted if item.number not in self._made]
        self._place.waiting = len(items)
        running = {self._place.submit(partial(self._item, item)) for item in items}
        kept_at = time.monotonic()
        try:
            while running:
                done, running = wait(running, PROGRESS_PERIOD_S, FIRST_EXCEPTION)
                self._patience.go_on()
                if not done:
                    continue
                self._made |= {each.number: each for each in (future.result() for future in done)}
                count = f"{len(self._made)} of {len(wanted)} items"
                self._lease.report(len(self._made) / len(wanted), count)
                if time.monotonic() - kept_at >= self._bench.settings.savepoint_s:
                    kept_at = time.monotonic()
                    self._keep(ended)
        finally:
            begun = [future for future in running if not future.cancel()]
            self._stop()
            wait(begun)
        return self._output()

    def _output(self) -> StepOutput:
        """Of the items that have ended so far."""
        made = (self._made.get(item.number) for item in self._job.items)
        return StepOutput(
            items=tuple(output for output in made if output),
            revision=self._revision,
            batch_class=self._batch_class,
        )

    def _ended_items(self) -> EndedItems:
        folder = savepoint_folder(self._job.id, self._lease.step, self._step.name)
        return EndedItems(self._bench.store, folder, self._lease.fence)

    def _go_on_from(self, kept: StepOutput | None) -> None:
        if kept and kept.revision == self._revision:
            self._made = {output.number: output for output in kept.items}
            self._batch_class = min(self._batch_class, kept.batch_class)

    def _keep(self, ended: EndedItems) -> None:
        """Have the time limit and the count of attempts begin anew; trouble is logged."""
        try:
            ended.keep(self._output())
            self._lease.saved()
        except StorageUnavailable as error:
            log.warning("ended items are not kept", error=error.message)

    def _wanted(self) -> list[Item]:
        failed = {
            made.number
            for record in self._job.steps
            if record.output
            for made in record.output.items
            if made.error
        }
        return [item for item in self._job.items if item.number not in failed]

    def _item(self, item: Item) -> ItemOutput:
        """Run one item until it has its output or its last error.

        What is nobody's fault is waited for: an item that gave up would cost all others theirs.
        """
        attempts = 1
        with logs.bound(job_id=self._job.id, step=self._lease.step, item=item.number):
            while True:
                try:
                    return self._once(item, attempts)
                except (StepCanceled, StepInterrupted, LeaseLost, DeadlineExceeded):
                    raise
                except Exception as error:
                    known = known_error(error)
                    if known is not error:
                        log.exception("unexpected error")
                spent = known.burns_attempt and attempts >= self._bench.settings.max_attempts
                if spent or not known.retryable:
                    log.info("item failed", code=known.code, error=known.message)
                    failure = JobError(code=known.code, message=known.message, step=self._step.name)
                    return ItemOutput(number=item.number, error=failure, attempts=attempts)
                self._patience.pause(retry_delay_s(known, attempts))
                attempts += known.burns_attempt

    def _once(self, item: Item, attempts: int) -> ItemOutput:
        self._patience.go_on()
        job, index = of_item(self._job, item.number), self._lease.step
        folder = attempt_folder(self._job.id, index, self._step.name, self._lease.fence)
        own_folder = f"{folder}{item.number}/"
        with Attempt(self._bench, job, index, own_folder, self._patience) as attempt:
            ticket = attempt.submit(attempt.samples(), alone=attempts > 1)
            result = self._result(ticket)
            outputs, artifacts = attempt.store(result)
        return ItemOutput(
            number=item.number,
            outputs=outputs,
            artifacts=artifacts,
            attempts=attempts,
            run_ms=result.run_ms,
        )

    def _result(self, ticket: Ticket) -> StepResult:
        """What the model made of an item's samples, waited for."""
        with self._lock:
            self._tickets.add(ticket)
        self._lease.on_stop(self._stop)
        try:
            result = ticket.result()
        finally:
            with self._lock:
                self._tickets.discard(ticket)
        with self._lock:
            self._batch_class = min(self._batch_class, result.batch_class)
        return result

    def _stop(self) -> None:
        """Discard what the model has of the chunk."""
        with self._lock:
            tickets = list(self._tickets)
        for ticket in tickets:
            ticket.cancel()
