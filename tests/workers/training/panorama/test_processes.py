"""Processes that work together, on parts that are quickly done."""

import subprocess
import sys
import time
from functools import partial
from multiprocessing import active_children

import pytest
import torch

from shared.errors import ModelProcessDied, OutOfMemory
from workers.training.panorama.distributed import Peers
from workers.training.panorama.processes import together

TWO, THREE = ["cpu"] * 2, ["cpu"] * 3


def add(world: int, rank: int, device: str) -> None:
    """Take part in one sum."""
    Peers(world).total(torch.tensor([10.0**rank]))


def fail(error: Exception, rank: int, device: str) -> None:
    """Whoever comes first fails; the others lose it."""
    if rank == 1:
        raise error
    add(3, rank, device)


class Unreadable:
    """What can be pickled, and then not be read."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return getattr, ("there", "nothing")

    def __call__(self, rank: int, device: str) -> None: ...


def test_every_process_does_its_part_and_none_is_left() -> None:
    with together(TWO, partial(add, 2)):
        assert len(active_children()) == 1
        assert Peers(2).total(torch.ones(1)).item() == 11
    assert active_children() == []


def test_an_error_of_the_first_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), together(TWO, partial(add, 2)):
        raise ZeroDivisionError
    assert active_children() == []


@pytest.mark.parametrize(
    ("devices", "error", "told"),
    [
        (THREE, MemoryError("none left"), OutOfMemory("none left")),
        (
            TWO,
            ValueError("unexpected"),
            ModelProcessDied("process on cpu failed: ValueError: unexpected"),
        ),
    ],
)
def test_what_another_fails_with_is_told(
    devices: list[str], error: Exception, told: Exception
) -> None:
    with pytest.raises(type(told), match=str(told)), together(devices, partial(fail, error)):
        add(len(devices), 0, "cpu")
    assert active_children() == []


def test_a_process_that_cannot_begin_is_told_of() -> None:
    told = pytest.raises(ModelProcessDied, match="process on cpu ended with exit status 1")
    with told, together(TWO, Unreadable()):
        pytest.fail("they began")
    assert active_children() == []


def test_the_others_end_with_the_first() -> None:
    """What they all print to has an end when all have ended."""
    command = [sys.executable, "-m", "tests.workers.training.panorama.test_processes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert first.stdout.readline() == "1 other\n"
        first.kill()
        first.communicate(timeout=120)  # the others wait for a lost one for longer


if __name__ == "__main__":  # the first of two
    with together(TWO, partial(add, 2)):
        print(len(active_children()), "other", flush=True)
        time.sleep(60)
