"""The processes of a training on several devices: the first one starts the others and ends them."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait

from shared.errors import ImagemillError, ModelProcessDied
from workers.model_process import how_it_ended
from workers.resources import exhaustion
from workers.training.panorama.distributed import found, join, leave, meeting

Part = Callable[[int, str], object]  # of a work: what the process of this rank and device does

TELLING_S = 2.0  # from the failure of one until it is heard of

spawning = multiprocessing.get_context("spawn")  # CUDA does not survive a fork


@contextmanager
def together(devices: Sequence[str], part: Part) -> Iterator[None]:
    """Do the first device's part of a work in the block, the others' in processes of theirs.

    part: can be pickled; called with ranks from 1 on. The processes end with the block, whether
    they are done or not, and with this process, however it ends. Where one of them fails, the
    block does too: then raises the error that was met there, or ModelProcessDied.
    """
    if len(devices) == 1:
        yield
        return
    others: list[_Other] = []
    store = meeting()
    try:
        for rank in range(1, len(devices)):
            others.append(_Other(store.port, devices, rank, part))
        for other in others:
            other.await_begin()
        join(store, devices[0], 0, len(devices))
        yield
    except Exception as error:
        if failure := _failure(others):
            raise failure from error
        raise
    finally:
        for other in others:
            other.end()
        leave()


class _Other:
    """One of the other processes, as the first one has it."""

    def __init__(self, port: int, devices: Sequence[str], rank: int, part: Part) -> None:
        self._device = devices[rank]
        self.told, telling = spawning.Pipe(duplex=False)
        with telling:
            self._process = spawning.Process(
                target=_take_part, args=(telling, port, devices, rank, part), daemon=True
            )
            self._process.start()

    def await_begin(self) -> None:
        """Raises EOFError where it has ended before."""
        self.told.recv()

    def failure(self) -> ImagemillError | None:
        """What it failed with, or how it ended; None while it goes on."""
        error: ImagemillError | None = None
        try:
            while error is None and self.told.poll():
                error = self.told.recv()
        except EOFError:
            self._process.join()
            how = how_it_ended(self._process.exitcode or 0)
            error = ModelProcessDied(f"the training process on {self._device} {how}")
        return error

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.told.close()


def _failure(others: Sequence[_Other]) -> ImagemillError | None:
    """Why one of them has failed; None where all go on."""
    wait([other.told for other in others], TELLING_S)
    failures = filter(None, [other.failure() for other in others])
    # Whoever was lost, or lost another one, says less than who knows why.
    return min(failures, key=lambda error: isinstance(error, ModelProcessDied), default=None)


def _take_part(
    telling: Connection, port: int, devices: Sequence[str], rank: int, part: Part
) -> None:
    """The life of another process; it tells that it begins (None), and what it fails with."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    telling.send(None)
    try:
        join(found(port), devices[rank], rank, len(devices))
        part(rank, devices[rank])
        threading.Event().wait()  # the first process ends this one when it is done itself
    except ImagemillError as error:
        telling.send(error)
    except Exception as error:
        why = f"the training process on {devices[rank]} failed: {type(error).__name__}: {error}"
        telling.send(exhaustion(error) or ModelProcessDied(why))
        raise


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
