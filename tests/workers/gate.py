"""What fake models wait at, so that nothing depends on who is fast."""

import time
from pathlib import Path


class Gate:
    """A folder in which a model that has come to it says so, and waits.

    Handed to a fake family as the `gate` of a sample or of a checkpoint's settings.
    """

    def __init__(self, folder: Path) -> None:
        self._reached, self._opened = folder / "reached", folder / "opened"

    def pass_through(self) -> None:
        """Called by the model: wait until it is open."""
        self._reached.touch()
        while not self._opened.exists():
            time.sleep(0.005)

    def reached(self) -> bool:
        """Whether something has come to it."""
        return self._reached.exists()

    def open(self) -> None:
        """From now on nothing waits here."""
        self._opened.touch()

    def shut(self) -> None:
        """As if nothing had been here."""
        for file in (self._reached, self._opened):
            file.unlink(missing_ok=True)
