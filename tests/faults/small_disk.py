"""A disk that is soon full."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MB = 1_000_000


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size in `folder`, which is made, until the block ends.

    Skips the test where this process may not mount one.
    """
    folder.mkdir(parents=True)
    size = f"size={megabytes * MB}"
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small disk needs the right to mount: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that still holds a file must not keep the mount.
        subprocess.run(["umount", "--lazy", folder], check=True)
