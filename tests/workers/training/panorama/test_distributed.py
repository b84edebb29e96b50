import json
import os
import socket
import subprocess
import sys

import pytest

from tests.workers.training.panorama import one_of_two
from workers.training.panorama.distributed import Peers, peers


def told(world: int) -> list[list[dict[str, float]]]:
    """The losses that each of so many processes tells, started as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    runs = []
    for rank in range(world):
        place = {"RANK": str(rank), "WORLD_SIZE": str(world)}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-m", one_of_two.__name__]
        runs.append(subprocess.Popen(command, env={**os.environ, **place}, stdout=subprocess.PIPE))
    return [json.loads(run.communicate(timeout=120)[0]) for run in runs]


def test_two_processes_train_as_one_with_the_whole_batch() -> None:
    first, second = told(2)
    alone = one_of_two.losses(Peers())
    assert first == second
    assert [set(losses) for losses in first] == [set(losses) for losses in alone]
    for together, by_itself in zip(first, alone, strict=True):
        assert together == pytest.approx(by_itself, abs=1e-4)


def test_a_process_that_torchrun_did_not_start_is_alone() -> None:
    with peers("cpu") as group:
        assert group == Peers(0, 1)
