"""Temporary folders of workers, which do not outlive them for long."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from shared import logs

PREFIX = "imagemill-"

log = logs.get(__name__)


class Scratch:
    """A folder `imagemill-<pid>-…` in the temporary folder, until `close`.

    The worker holds a lock on it, which ends with the worker however that ends: a folder that
    nobody has locked is a dead worker's, whoever has its pid by now.
    """

    def __init__(self) -> None:
        """Raises OSError where no folder can be made."""
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
            # Between these two lines another worker may take it for a dead one's.
            with suppress(FileNotFoundError, BlockingIOError):
                self._lock = _lock(self.folder)
                return

    def empty(self) -> None:
        """Remove what lies in the folder, as far as that can be done."""
        with suppress(OSError):
            for path in list(self.folder.iterdir()):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned() -> None:
    """Remove the folders of workers that ended without removing them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        with suppress(OSError):  # in use, another user's, or gone already
            lock = _lock(folder)
            log.info("a dead worker's files are removed", folder=str(folder))
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int:
    """A descriptor that holds the folder's lock until it is closed.

    Raises BlockingIOError where another holds it, FileNotFoundError where the folder is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()  # its last holder may have removed it before it let go
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
