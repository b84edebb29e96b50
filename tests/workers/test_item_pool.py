"""How many items a worker takes on."""

import os
import sys
import threading
from threading import Event

import pytest

from shared.errors import StepInterrupted
from tests.waiting import PATIENCE_S, until
from workers.item_pool import AHEAD_S, LOWEST, ItemPool


def test_it_takes_no_more_than_it_is_about_to_begin() -> None:
    pool, go_on = ItemPool(3), Event()
    with pool.place(64) as place:
        assert pool.full
        with pytest.raises(StepInterrupted), pool.place(64):
            pass
        with pool.place(0):  # a job without items
            pass
        place.waiting = 5
        futures = [place.submit(lambda: go_on.wait(PATIENCE_S)) for _ in range(5)]
        until(lambda: place.waiting == 2)
        assert not pool.full
        go_on.set()
        assert all(future.result() for future in futures)


def test_a_quick_worker_takes_as_much_as_it_has_done_of_late() -> None:
    now = 0.0
    pool = ItemPool(9, lambda: now)
    with pool.place(100) as place:
        for future in [place.submit(lambda: None) for _ in range(80)]:
            future.result()
        with pool.place(55):
            assert not pool.full  # 75 wait, and 80 have ended
            now += AHEAD_S + 1
            assert pool.full


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_its_threads_and_no_others_give_way_to_models() -> None:
    pool = ItemPool(2)

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    with pool.place(1) as place:
        assert place.submit(priority).result() == LOWEST
    assert priority() == before < LOWEST


def test_chunks_leave_steps_to_single_jobs() -> None:
    pool = ItemPool(9)
    with pool.place(1), pool.place(1):
        assert not pool.full
        with pool.place(1):
            assert pool.full
    assert not pool.full
