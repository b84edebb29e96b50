"""Ends waiting requests when the process is told to stop."""

import signal
import threading
from types import FrameType
from typing import Any

STOPPING = threading.Event()


def begin() -> None:
    """Let every waiting request answer now."""
    STOPPING.set()


def install() -> None:
    """Call `begin` on SIGTERM, SIGINT and SIGQUIT, before the handlers that are there already.

    For a server's worker process, in its main thread, once the server has set its own handlers.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, _chained(signal.getsignal(number)))


def _chained(previous: Any) -> Any:
    def handle(number: int, frame: FrameType | None) -> None:
        begin()
        if callable(previous):
            previous(number, frame)

    return handle
