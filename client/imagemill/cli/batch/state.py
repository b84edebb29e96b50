"""What a run has done so far, in a small database beside its results.

It survives a kill at any moment; what is not in it is done again, with the same result.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from imagemill.batch_records import BatchLine
from imagemill.errors import InvalidInput

TABLES = """
PRAGMA locking_mode = EXCLUSIVE;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS run (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY, size INTEGER, changed_ns INTEGER, sha256 TEXT
);
CREATE TABLE IF NOT EXISTS refused (custom_id TEXT PRIMARY KEY, line TEXT);
COMMIT;
"""
PATIENCE = 1.0  # s for whoever is about to leave it


class Digest(NamedTuple):
    """The SHA-256 of a file as it was at a time."""

    path: str
    size: int
    changed_ns: int
    sha256: str


class RunState:
    """Digests of local files, lines of those that were refused, and the batch's id.

    For one thread of one process. `save` keeps what was done since the last one.
    """

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput where no such file can be made, or another run has it."""
        try:
            self._database = sqlite3.connect(path, timeout=PATIENCE)
            self._database.executescript(TABLES)
        except sqlite3.Error as error:
            raise InvalidInput(f"{path}: {error}") from None

    def close(self) -> None:
        self._database.close()

    def save(self) -> None:
        self._database.commit()

    def __getitem__(self, name: str) -> str | None:
        found = self._database.execute("SELECT value FROM run WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def __setitem__(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (name, value))

    def digest(self, path: str, size: int, changed_ns: int) -> str | None:
        """Of a file that has not changed since it was kept."""
        query = "SELECT sha256 FROM digests WHERE path = ? AND size = ? AND changed_ns = ?"
        found = self._database.execute(query, (path, size, changed_ns)).fetchone()
        return found[0] if found else None

    def keep(self, digests: Iterable[Digest]) -> None:
        self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", digests)

    def refuse(self, custom_id: str, code: str, message: str) -> None:
        """Remembers an item that the service will never have."""
        error = {"code": code, "message": message}
        line = {"id": None, "custom_id": custom_id, "response": None, "error": error}
        row = (custom_id, json.dumps(line))
        self._database.execute("INSERT OR REPLACE INTO refused VALUES (?, ?)", row)

    def refused(self) -> Iterator[BatchLine]:
        """The lines of those items, in the order in which they came up."""
        for (line,) in self._database.execute("SELECT line FROM refused ORDER BY rowid"):
            yield BatchLine.of(json.loads(line))

    def refusals(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM refused").fetchone()[0])

    def forget_refusals(self) -> None:
        """Before the files are looked at again."""
        self._database.execute("DELETE FROM refused")
