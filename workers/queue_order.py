"""The order in which a worker looks at the broker's queues, and which of them."""

import time
from collections.abc import Callable, Collection, Iterable

from shared.contracts import Priority

SWITCH_S = 10.0  # how long the models in memory go before another one that waits


class HeldFirst:
    """One of kombu's queue orders (`queue_order_strategy`), for one channel, in one thread.

    Interactive queues come before bulk ones. Among those of one priority, a queue that was passed
    over for `switch_s` is first, then the `preferred` ones, and the least recently served of
    each: so no queue waits for ever, and models are switched seldom. While the worker has
    `enough` of a user's batches, the bulk queues are not asked at all; while it is `busy`, none
    is waited for (`broker_line`), and while it is `sated`, none is asked.
    """

    def __init__(
        self,
        preferred: Callable[[], Collection[str]],
        enough: Callable[[], bool] = lambda: False,
        busy: Callable[[], bool] = lambda: False,
        sated: Callable[[], bool] = lambda: False,
        switch_s: float = SWITCH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._preferred = preferred
        self._enough = enough
        self._busy = busy
        self._sated = sated
        self._switch_s = switch_s
        self._clock = clock
        self._since: dict[str, float] = {}  # when each was last served, or seen empty
        self._asked: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether an idle worker is to come first."""
        return self._busy()

    @property
    def sated(self) -> bool:
        """Whether it is to take nothing."""
        return self._sated()

    def update(self, queues: Iterable[str]) -> None:
        """These queues are consumed from now on."""
        now = self._clock()
        self._since = {queue: self._since.get(queue, now) for queue in queues}

    def consume(self, n: int) -> list[str]:
        """The next `n` queues to ask, of which the first that is not empty will answer."""
        if self.sated:
            return []
        now = self._clock()
        if self._asked:  # in vain: all of them were empty
            self._since.update(dict.fromkeys(self._asked, now))
        preferred = self._preferred()

        def rank(queue: str) -> tuple[str, bool, bool, float]:
            since = self._since[queue]
            passed_over = now - since >= self._switch_s
            return (queue.partition(".")[0], not passed_over, queue not in preferred, since)

        enough = self._enough()
        queues = [queue for queue in self._since if not (enough and _is_bulk(queue))]
        self._asked = sorted(queues, key=rank)[:n]
        return self._asked

    def rotate(self, last_used: str) -> str:
        """This queue has answered, so that those asked before it were empty."""
        if last_used in self._asked:
            answered = self._asked[: self._asked.index(last_used) + 1]
            self._since.update(dict.fromkeys(answered, self._clock()))
        self._asked = []
        return last_used


def _is_bulk(queue: str) -> bool:
    return queue.partition(".")[0].endswith(Priority.BULK)
