"""Temporary files that find no space."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import DiskFull

FULL = errno.ENOSPC, errno.EDQUOT


@contextmanager
def told_when_full() -> Iterator[None]:
    """A full disk, also under a table of SQLite's, is raised as DiskFull: what is done within is
    to be done again later."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(f"no space for temporary files: {error}") from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise DiskFull(f"no space for temporary files: {error}") from error
