"""Two ways to do the same work, timed in turn within one run.

What else the machine does drifts over a run. So the two are measured side by side as pairs, each
pair in the other order than the one before (A/B, B/A, A/B, …), and compared pair by pair.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

PAIRS = 7

Seconds = Mapping[str, float]  # of each part of the work, by its name
Way = Callable[[], Seconds]


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of some numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of two or more values."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Comparison:
    """The seconds that the plain way and the project's own took, pair by pair."""

    plain: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def speedup(self) -> float:
        """How many times as fast as the plain way: the ratio of the medians."""
        return statistics.median(self.plain) / statistics.median(self.ours)

    @property
    def by_pair(self) -> Spread:
        """The same ratio within each pair."""
        return Spread.of([a / b for a, b in zip(self.plain, self.ours, strict=True)])


def compare(plain: Way, ours: Way, pairs: int = PAIRS) -> dict[str, Comparison]:
    """The comparison of each part that the two ways tell the seconds of.

    Each way is called once beforehand, so that neither pays for what happens only once.
    """
    plain(), ours()
    measured = list(_pairs(plain, ours, pairs))
    return {
        part: Comparison(tuple(a[part] for a, _ in measured), tuple(b[part] for _, b in measured))
        for part in measured[0][0]
    }


def _pairs(plain: Way, ours: Way, pairs: int) -> Iterator[tuple[Seconds, Seconds]]:
    for number in range(pairs):
        if number % 2:
            second, first = ours(), plain()
        else:
            first, second = plain(), ours()
        yield first, second


class Ticks:
    """The moments at which something that repeats was done; called once for each."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._moments: list[float] = []

    def __call__(self) -> None:
        self._moments.append(self._clock())

    def each(self, first: int, last: int) -> float:
        """The seconds of one repetition, on the average from tick `first` (0, …) to `last`."""
        return (self._moments[last] - self._moments[first]) / (last - first)
