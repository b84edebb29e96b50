"""A dictionary that may outgrow the memory."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from api.batches.disk import told_when_full


class DiskTable:
    """Text by text, in a temporary file of SQLite's own, which goes with it.

    Each method raises DiskFull.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._run("PRAGMA journal_mode = OFF")
        self._run("CREATE TABLE entries (place INTEGER PRIMARY KEY, key TEXT UNIQUE, value TEXT)")
        self._run("BEGIN")

    def add(self, key: str, value: str = "") -> bool:
        """False: the key is there already, and keeps its value."""
        added = self._run("INSERT OR IGNORE INTO entries (key, value) VALUES (?, ?)", (key, value))
        return added.rowcount == 1

    def get(self, key: str) -> str | None:
        return self._value("key", key)

    def at(self, place: int) -> str:
        """The value of the entry that was added at this place, from 0."""
        value = self._value("place", place + 1)
        if value is None:
            raise IndexError(place)
        return value

    def __len__(self) -> int:
        return self._run("SELECT count(*) FROM entries").fetchone()[0]

    def _value(self, column: str, wanted: str | int) -> str | None:
        found = self._run(f"SELECT value FROM entries WHERE {column} = ?", (wanted,)).fetchone()
        return found and found[0]

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with told_when_full():
            return self._database.execute(statement, values)
