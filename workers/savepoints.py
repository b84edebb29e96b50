"""Savepoints on this machine: what a sample goes on from when its model process is lost."""

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.scratch import Scratch


@dataclass(frozen=True)
class Savepoint:
    """A folder with the files of one savepoint and nothing else.

    `progress` (0 to 1) and `batch_class` are those of the sample when it was made.
    """

    folder: Path
    progress: float
    batch_class: int


class Savepoints:
    """The savepoints of one sample, in a temporary folder of the worker's, until `close`.

    Their files are links to those that the model process wrote: they outlive it, and cost no
    copy. Each savepoint has a folder of its own, so that one can be read while the next is made.
    """

    def __init__(self) -> None:
        self.newest: Savepoint | None = None
        self._scratch: Scratch | None = None
        self._numbers = itertools.count()

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """An empty folder for the files of a savepoint, removed where the block raises. Raises
        OSError."""
        self._scratch = self._scratch or Scratch()
        folder = self._scratch.folder / str(next(self._numbers))
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def take(self, files: Sequence[Path], progress: float, batch_class: int) -> None:
        """Make these files the newest savepoint; one that is gone is taken from the last one.

        Raises OSError where that had none of the name.
        """
        with self.new_folder() as folder:
            for file in files:
                known = self.newest and self.newest.folder / file.name
                os.link(file if file.exists() or not known else known, folder / file.name)
        self.newest = Savepoint(folder, progress, batch_class)

    def forget_before(self, savepoint: Savepoint) -> None:
        """Remove the folders of those that are older."""
        for folder in savepoint.folder.parent.iterdir():
            if int(folder.name) < int(savepoint.folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        if self._scratch:
            self._scratch.close()
