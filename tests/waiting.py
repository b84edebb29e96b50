"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], timeout_s: float = 60.0, what: str = "condition") -> Any:
    """The condition's value once it is true. Raises AssertionError when the time is over."""
    limit = time.monotonic() + timeout_s
    while time.monotonic() < limit:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"timed out: {what}")
