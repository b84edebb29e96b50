"""The threads on which a worker runs the items of its chunks, and how much it takes on."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from shared.errors import StepInterrupted

T = TypeVar("T")

LOWEST = 19  # of the system's priorities, of which 0 is the usual one
AHEAD_S = 1.0  # several times as long as a consumer takes to look at a queue again (LOOK_S)


def give_way() -> None:
    """Let others have the processor before this thread: it makes ready what a model takes next,
    and on a machine without a core to spare it would keep the model from what it has."""
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)


@dataclass(eq=False)
class Place:
    """A chunk's on this worker."""

    _pool: "ItemPool"
    waiting: int  # items that no thread has taken up

    def submit(self, run: Callable[[], T]) -> Future[T]:
        """Have an item of the chunk run, after all that were handed in before it."""
        return self._pool.submit(self, run)


class ItemPool:
    """Bounded on two sides: so many items are in work, and little more is claimed than these.

    What waits here waits for this worker alone, while another one may have nothing to do. So a
    worker has enough when as many items wait as it has threads, or, where it is quick, as it has
    ended in the last AHEAD_S.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`threads`: also the number of steps that the worker may hold, of which chunks take up a
        third, but for two that they may always be: single jobs find the others free."""
        self._threads = ThreadPoolExecutor(threads, "items", initializer=give_way)
        self._size = threads
        self._most = max(2, threads // 3)
        self._places: set[Place] = set()
        self._ended: deque[float] = deque()  # when items have
        self._clock = clock
        self._lock = threading.RLock()

    @property
    def full(self) -> bool:
        """Whether no other chunk is to be claimed now."""
        with self._lock:
            while self._ended and self._ended[0] < self._clock() - AHEAD_S:
                self._ended.popleft()
            enough = max(self._size, len(self._ended))
            waiting = sum(place.waiting for place in self._places)
            return len(self._places) >= self._most or waiting >= enough

    @property
    def chunks(self) -> int:
        """How many have a place."""
        with self._lock:
            return len(self._places)

    @contextmanager
    def place(self, items: int) -> Iterator[Place]:
        """Room for a chunk, or for none, from before its claim on: for `items` of them, until
        `waiting` is set to what it has. Raises StepInterrupted where there is none."""
        place = Place(self, items)
        with self._lock:
            if items and self.full:
                raise StepInterrupted("the worker has enough items")
            if items:
                self._places.add(place)
        try:
            yield place
        finally:
            with self._lock:
                self._places.discard(place)

    def submit(self, place: Place, run: Callable[[], T]) -> Future[T]:
        """As `Place.submit`."""

        def take_up() -> T:
            with self._lock:
                place.waiting -= 1
            try:
                return run()
            finally:
                with self._lock:
                    self._ended.append(self._clock())

        return self._threads.submit(take_up)
