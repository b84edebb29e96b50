"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable
from typing import Any

# How long a test waits for anything before it fails. It costs nothing where things go well, and
# says nothing about how fast they are: a machine that others share may stand still for a while.
PATIENCE_S = 600.0


def until(condition: Callable[[], Any], what: str = "condition") -> Any:
    """The condition's value once it is true. Raises AssertionError when the patience is over."""
    limit = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < limit, f"waited in vain: {what}"
        time.sleep(0.02)
    return value
