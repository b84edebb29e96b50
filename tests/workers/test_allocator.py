"""What the allocator does with freed memory, by the page faults of a process."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from workers.allocator import OPTIONS

BLOCKS, BLOCK = 64, 1 << 20
PAGES = BLOCKS * BLOCK // os.sysconf("SC_PAGE_SIZE")
PROGRAM = f"""
import ctypes, resource, sys
if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit(3)
from workers.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(2):  # the second time the memory is there, if it was kept
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [b"x" * {BLOCK} for _ in range({BLOCKS})]
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    del blocks
print(faults)
"""


def faults(how: str, settings: Mapping[str, str] = {}) -> int:
    """Page faults of a process that takes as much as it has freed before."""
    names = {option.variable for option in OPTIONS}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env={**inherited, **settings},
        capture_output=True,
        text=True,
    )
    if done.returncode == 3:
        pytest.skip("malloc is not glibc's")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_freed_memory_is_used_again() -> None:
    assert faults("kept") < PAGES / 10
    assert faults("as it comes") > PAGES / 2


def test_what_the_environment_sets_is_left() -> None:
    assert faults("kept", {"MALLOC_MMAP_THRESHOLD_": "65536"}) > PAGES / 2
