"""When the watchdog barks, on a clock of its own."""

import threading
import time

import pytest

from shared.queues import BrokerUnavailable
from tests.waiting import PATIENCE_S
from workers.watchdog import Watchdog

LIMIT_S = 20.0


class Yard:
    """A watchdog that looks every five seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: bool | None = True  # None: the broker is away
        self.free = True
        self.barks = 0
        self.dog = Watchdog(LIMIT_S, self._waiting, lambda: self.free, self._bark, self._clock)

    def _clock(self) -> float:
        return self.now

    def _bark(self) -> None:
        self.barks += 1

    def _waiting(self) -> bool:
        if self.waits is None:
            raise BrokerUnavailable("away")
        return self.waits

    def looks(self, times: int) -> int:
        """How often it barks meanwhile."""
        before = self.barks
        for _ in range(times):
            self.now += LIMIT_S / 4
            self.dog.look()
        return self.barks - before


@pytest.fixture
def yard() -> Yard:
    return Yard()


def test_it_barks_when_work_waits_and_none_comes(yard: Yard) -> None:
    assert yard.looks(4) == 0
    assert yard.looks(1) == 1


def test_a_message_that_comes_begins_the_time_anew(yard: Yard) -> None:
    yard.looks(4)
    yard.dog.reached()
    assert yard.looks(3) == 0
    assert yard.looks(1) == 1


def test_a_long_quiet_time_is_no_sign(yard: Yard) -> None:
    """The first message after it must not be taken for one that waited all the time."""
    yard.waits = False
    yard.looks(100)
    yard.waits = True
    assert yard.looks(4) == 0
    assert yard.looks(1) == 1


@pytest.mark.parametrize(("name", "value"), [("waits", False), ("waits", None), ("free", False)])
def test_an_empty_queue_an_absent_broker_and_full_slots_calm_it(
    yard: Yard, name: str, value: bool | None
) -> None:
    yard.looks(4)
    good = getattr(yard, name)
    setattr(yard, name, value)
    assert yard.looks(20) == 0
    setattr(yard, name, good)
    assert yard.looks(4) == 0
    assert yard.looks(1) == 1


def test_it_looks_until_it_is_stopped() -> None:
    barked, stop = threading.Event(), threading.Event()
    dog = Watchdog(0.2, lambda: True, lambda: True, barked.set)
    thread = threading.Thread(target=dog.run, args=(stop,))
    thread.start()
    assert barked.wait(PATIENCE_S)
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    barked.clear()
    time.sleep(0.3)
    assert not barked.is_set()
