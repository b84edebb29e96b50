"""What is made of samples of memory."""

import subprocess
import sys
import time

import psutil
import pytest

from bench.bulk.memory import Memory, resident

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


@pytest.fixture
def parent():
    """A process with a child; both wait."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE)
    while not psutil.Process(process.pid).children():
        time.sleep(0.01)
    yield process.pid
    process.communicate(b"\n")


def test_a_process_counts_with_its_children(parent, tmp_path):
    with Memory({"parent": parent}, {}) as memory:
        [child] = psutil.Process(parent).children()
        assert resident(parent) > resident(child.pid) > 0
    assert memory.series["parent"][0] > 0
    memory.draw(tmp_path / "images" / "plot.svg")
    assert "parent" in (tmp_path / "images" / "plot.svg").read_text()


def test_peaks_are_of_the_sum_and_growth_is_of_fifths():
    memory = Memory({}, {})
    memory.series = {"a": [1, 9, 2, 2, 2, 2, 2, 2, 2, 4], "b": [1, 1, 8, 1, 1, 1, 1, 1, 1, 1]}
    assert memory.added("a") == 8
    assert memory.added("a", "b") == 8
    assert memory.growth("a") == (2, 4)
