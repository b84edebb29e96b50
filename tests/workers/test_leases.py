"""What the keeper of leases does beside renewing, against the ledger's twin."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from shared.contracts import NewJob, Priority, Step, StepOutput, StepStatus, new_id
from shared.errors import LedgerUnavailable, StepInterrupted
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from tests.waiting import PATIENCE_S, until
from workers.leases import Lease, LeaseKeeper

OUTPUT = StepOutput(outputs={}, artifacts=(), revision="r", batch_class=1, run_ms=1)


class Holder:
    """A worker that holds steps."""

    def __init__(self) -> None:
        self.settings = Settings(lease_s=60)
        self.ledger = MemoryLedger(self.settings, clock=lambda: 1_000)  # time passes when told to
        self.keeper = LeaseKeeper(self.ledger, self.settings)
        self.stack = ExitStack()

    def take(self) -> Lease:
        """Hold the step of a new job."""
        step = Step(name="translate", family="f", model="m", params={}, batch_class=1)
        job = NewJob(
            id=new_id("job"),
            tenant="t",
            kind="translate",
            priority=Priority.INTERACTIVE,
            input={},
            steps=(step,),
            files=(),
            deadline_s=None,
            retention_s=1000,
        )
        self.ledger.submit(job)
        self.ledger.admit(step.queue(job.priority))
        lease = self.stack.enter_context(self.keeper.hold(job.id, 0))
        claim = self.ledger.claim(job.id, 0, "w", "token")
        lease.claimed(claim.fence, claim.attempt)
        return lease

    def status(self, lease: Lease) -> StepStatus:
        return self.ledger.get(lease.job_id).steps[0].status

    def count(self, name: str) -> int:
        return self.ledger.counters().get(name, 0)


@pytest.fixture
def holder() -> Iterator[Holder]:
    holder = Holder()
    yield holder
    holder.stack.close()
    holder.keeper.close()


def test_once_drained_nothing_can_be_held(holder: Holder) -> None:
    holder.keeper.drain()
    with pytest.raises(StepInterrupted), holder.keeper.hold("job", 0):
        pass
    assert holder.keeper.held == 0


def test_drain_gives_back_what_the_model_does_not_have(holder: Holder) -> None:
    fetching, running = holder.take(), holder.take()
    running.on_stop(lambda: None)
    holder.keeper.drain()
    until(lambda: holder.status(fetching) is StepStatus.QUEUED)
    assert holder.ledger.get(fetching.job_id).steps[0].attempts == 1  # of which none is burnt:
    assert holder.ledger.claim(fetching.job_id, 0, "other", "t2").attempt == 1
    assert holder.status(running) is StepStatus.RUNNING
    assert holder.count("released") == 1


def test_release_all_gives_back_everything_and_a_later_commit_is_fenced(holder: Holder) -> None:
    leases = [holder.take() for _ in range(3)]
    for lease in leases[:2]:
        lease.on_stop(lambda: None)
    holder.keeper.release_all()
    assert [holder.status(lease) for lease in leases] == [StepStatus.QUEUED] * 3
    first = leases[0]
    assert holder.ledger.commit(first.job_id, 0, first.fence, OUTPUT) == "fenced"
    assert holder.count("fenced") == 1


def test_a_step_is_released_once_whoever_asks(holder: Holder) -> None:
    lease = holder.take()
    threads = [threading.Thread(target=lease.release, args=(holder.ledger,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holder.keeper.release_all()
    assert lease.release(holder.ledger) == "released"
    assert (holder.count("released"), holder.count("fenced")) == (1, 0)


def test_release_all_waits_for_a_claim_that_is_under_way(holder: Holder) -> None:
    with holder.keeper.hold("job", 0) as lease:
        thread = threading.Thread(target=holder.keeper.release_all)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert lease.released is None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_release_all_goes_on_until_the_ledger_answers(holder: Holder) -> None:
    lease = holder.take()
    lease.on_stop(lambda: None)
    holder.ledger.down = True
    thread = threading.Thread(target=holder.keeper.release_all)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    holder.ledger.down = False
    thread.join(PATIENCE_S)
    assert holder.status(lease) is StepStatus.QUEUED


def test_a_released_step_is_not_renewed(holder: Holder) -> None:
    lease = holder.take()
    lease.release(holder.ledger)
    assert not lease.is_due(time.monotonic() + 100, 1)


def test_what_is_released_before_it_reaches_the_model_stops_there(holder: Holder) -> None:
    lease, stopped = holder.take(), threading.Event()
    lease.release(holder.ledger)
    lease.on_stop(stopped.set)
    assert stopped.is_set()


def test_what_was_saved_gets_its_time_and_its_attempts_anew(holder: Holder) -> None:
    """Told to the ledger once, and not lost while that does not answer."""
    holder.keeper.close()  # so that renewals are the test's own
    lease = holder.take()
    lease.attempt = 2
    limit_ms = int(holder.settings.step_timeout_s * 1000)
    holder.ledger.advance(limit_ms - 1)
    lease.report(0.5, "evaluation 9", {"style": 2.5})
    lease.saved()
    holder.ledger.down = True
    with pytest.raises(LedgerUnavailable):
        lease.renew(holder.ledger)
    holder.ledger.down = False
    assert lease.attempt == 2
    lease.renew(holder.ledger)
    assert lease.attempt == 1
    job = holder.ledger.get(lease.job_id)
    assert (job.progress, job.metrics) == (0.5, {"style": 2.5})
    holder.ledger.advance(limit_ms - 1)
    lease.renew(holder.ledger)
    assert lease.verdict == "ok"
    holder.ledger.advance(1)
    lease.renew(holder.ledger)
    assert lease.verdict == "deadline"
