"""Looking at something again and again until it has ended."""

import time
from collections.abc import Callable
from typing import TypeVar

from imagemill.batch_records import Batch
from imagemill.errors import ServiceUnavailable, WaitTimeout
from imagemill.records import Job

FIRST_POLL, LONGEST_POLL = 0.1, 1.0  # s between two looks

T = TypeVar("T", Job, Batch)


def until_done(
    look: Callable[[], T],
    on_progress: Callable[[T], object] | None,
    timeout: float | None,
    patience: float = 0.0,
) -> T:
    """What `look` gives once that is done; every 0.1 s at first, then every second.

    `on_progress` is called at first and whenever something has changed. While the service cannot
    be reached, `look` is called again for `patience` seconds. Raises WaitTimeout after `timeout`
    seconds, and what `look` raises.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause, seen = FIRST_POLL, None
    while True:
        now = _patiently(look, patience)
        if on_progress and now.raw != seen:
            on_progress(now)
            seen = now.raw
        if now.done:
            return now
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeout(now, timeout or 0.0)
            pause = min(pause, left)
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL)


def _patiently(look: Callable[[], T], patience: float) -> T:
    limit = time.monotonic() + patience
    while True:
        try:
            return look()
        except ServiceUnavailable:
            if time.monotonic() >= limit:
                raise
        time.sleep(LONGEST_POLL)
