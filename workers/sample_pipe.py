"""The pipe on which samples reach a model process, those of the next batch while one runs.

Orders have a pipe of their own: neither large samples nor a process that is deaf can fill that one.
"""

import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

Samples = Sequence[Mapping[str, Any]]


class SampleSender:
    """The worker's end. Any thread may send."""

    def __init__(self, connection: Connection) -> None:
        """The sender closes the connection in the end."""
        self._connection = connection
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        threading.Thread(target=self._run, name="samples", daemon=True).start()

    def send(self, number: int, samples: Samples) -> None:
        """Send a batch's samples; returns at once. Raises what cannot be pickled."""
        self._waiting.put(pickle.dumps((number, samples), pickle.HIGHEST_PROTOCOL))

    def close(self) -> None:
        self._waiting.put(None)

    def _run(self) -> None:
        with self._connection, suppress(OSError):  # the process has died, as others see too
            while (data := self._waiting.get()) is not None:
                self._connection.send_bytes(data)


class SampleReceiver:
    """The model process's end."""

    def __init__(self, connection: Connection, on_end: Callable[[], object]) -> None:
        """`on_end` is called, on another thread, when the worker is gone."""
        self._connection = connection
        self._on_end = on_end
        self._arrived: dict[int, Samples] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="samples", daemon=True).start()

    def take(self, number: int) -> Samples:
        """The samples of this batch, once they are here. Those that were sent before them belong
        to batches that never run."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._arrived)
            samples = self._arrived[number]
            self._arrived = {n: each for n, each in self._arrived.items() if n > number}
            return samples

    def _run(self) -> None:
        try:
            while True:
                number, samples = self._connection.recv()
                with self._changed:
                    self._arrived[number] = samples
                    self._changed.notify_all()
        except (EOFError, OSError):
            pass
        finally:
            self._on_end()
