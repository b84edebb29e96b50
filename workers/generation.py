"""Watching a language model write. Shared by families, and free of torch itself."""

from collections.abc import Callable
from typing import Any


class StopWhenCanceled:
    """A stopping criterion of `generate`: reports every token, ends all rows when told to.

    `report(done, most)` returns False when nobody wants the text any more.
    """

    def __init__(self, report: Callable[[int, int], bool], most: int) -> None:
        self._report = report
        self._most = most
        self._done = 0
        self.canceled = False

    def __call__(self, tokens: Any, scores: Any, **_: Any) -> Any:
        """tokens: tensor (rows, length) → tensor (rows) of bool, which rows are to end."""
        self._done = min(self._done + 1, self._most)
        self.canceled = self.canceled or not self._report(self._done, self._most)
        return tokens[:, 0] >= 0 if self.canceled else tokens[:, 0] < 0
