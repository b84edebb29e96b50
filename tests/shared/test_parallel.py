from collections.abc import Iterator
from threading import Barrier, Event

import pytest

from shared.parallel import parallel_map
from tests.waiting import PATIENCE_S


def test_results_come_in_order() -> None:
    first_may_end = Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(PATIENCE_S)
        elif number == 3:
            first_may_end.set()
        return number * number

    assert list(parallel_map(work, range(200), threads=4)) == [n * n for n in range(200)]


def test_as_many_run_at_once_as_there_are_threads() -> None:
    together = Barrier(4)
    assert len(list(parallel_map(lambda _: together.wait(PATIENCE_S), range(4), threads=4))) == 4


def test_items_are_read_only_a_little_ahead() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            read.append(number)
            yield number

    results = parallel_map(lambda item: item, items(), threads=2)
    assert [next(results), next(results)] == [0, 1]
    assert len(read) < 20


def test_an_error_is_raised_and_ends_it() -> None:
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        list(parallel_map(work, range(10_000), threads=2))
    assert len(begun) < 100
