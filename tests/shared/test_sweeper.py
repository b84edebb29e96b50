"""Turns: any number of sweepers together sweep as one does, and no one of them is needed."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shared import sweeper as module
from shared.settings import Settings
from shared.sweeper import Sweeper
from shared.testing.ledger import MemoryLedger
from tests.waiting import PATIENCE_S, until

SWEEP_S = 0.1


class Counting(Sweeper):
    """Counts what it does; `work` is done in every sweep."""

    name = "test"

    def __init__(self, ledger: MemoryLedger) -> None:
        super().__init__(ledger)
        self.swept = self.watched = 0
        self.work: Callable[[], bool] = lambda: False

    def sweep(self) -> bool:
        self.swept += 1
        return self.work()

    def watch(self) -> bool:
        self.watched += 1
        return False


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(Settings())


@pytest.fixture
def sweepers(
    ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], list[Counting]]]:
    """Starts some."""
    monkeypatch.setattr(module, "SWEEP_S", SWEEP_S)
    monkeypatch.setattr(module, "TURN_S", 0.8 * SWEEP_S)
    stop, threads = threading.Event(), []

    def start(number: int) -> list[Counting]:
        started = [Counting(ledger) for _ in range(number)]
        threads.extend(each.start(stop) for each in started)
        return started

    yield start
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_many_sweep_no_more_often_than_one(
    sweepers: Callable[[int], list[Counting]],
) -> None:
    started = time.monotonic()
    eight = sweepers(8)
    until(lambda: sum(each.swept for each in eight) >= 10)
    swept, passed_s = sum(each.swept for each in eight), time.monotonic() - started
    assert swept <= passed_s / (0.8 * SWEEP_S) + 2
    assert all(each.watched > 0 for each in eight)


def test_one_that_hangs_is_replaced(sweepers: Callable[[int], list[Counting]]) -> None:
    hanging, release = sweepers(1)[0], threading.Event()
    hanging.work = lambda: release.wait(PATIENCE_S) and False
    until(lambda: hanging.swept > 0)
    other = sweepers(1)[0]
    until(lambda: other.swept > 3)
    assert hanging.swept <= 2
    release.set()


def test_it_goes_on_at_once_while_there_is_more(
    sweepers: Callable[[int], list[Counting]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_S", 1.0)
    busy, left = sweepers(1)[0], iter([True] * 500)
    busy.work = lambda: next(left, False)
    until(lambda: busy.swept > 500)  # which by turns would take minutes


def test_it_goes_on_after_trouble(
    sweepers: Callable[[int], list[Counting]], ledger: MemoryLedger
) -> None:
    def explode() -> bool:
        raise RuntimeError("a defect")

    ledger.down = True
    one = sweepers(1)[0]
    time.sleep(3 * SWEEP_S)
    assert (one.swept, one.watched) == (0, 0)
    one.work = explode
    ledger.down = False
    until(lambda: one.swept > 2)
