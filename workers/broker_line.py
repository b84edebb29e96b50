"""Standing in line at the broker: for workers that have nothing to do.

A server gives a message to the consumer that has waited longest, and with kombu's transport every
worker with a free slot waits: a job could come to one that is busy for minutes while another idles.
Here a busy worker only looks, again and again, and takes what those who wait have left; and while
its batch will take long, not even that: somebody may have nothing to do before it is through.
"""

import time
from queue import Empty
from typing import Any

from kombu.transport import redis

LOOK_AGAIN_S = 0.05
ENOUGH = 2  # looks that find something: what one of them saw, an idle worker may be about to take


class Channel(redis.Channel):
    """A channel whose queue order also tells whether the worker is `busy`, or `sated`
    (HeldFirst)."""

    _look_at = 0.0  # time.monotonic()
    _looking = False  # the question that is not answered yet is such a look
    _found = 0  # looks of late, one after the other, that found something

    def _brpop_start(self, timeout: float | None = None) -> None:
        order = self._queue_cycle
        if not order.busy or (self._found == ENOUGH and not order.sated):
            self._found = max(0, self._found - 1)
            self._looking = False
            super()._brpop_start(timeout)
        elif time.monotonic() >= self._look_at:
            self._look()

    def _brpop_read(self, **options: Any) -> bool:
        if not self._looking:
            answered: bool = super()._brpop_read(**options)  # Empty is raised where nothing came
            self._look_at = 0.0
            return answered
        try:
            found = self.client.parse_response(self.client.connection, "EXISTS", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = False
        self._found = self._found + 1 if found else 0
        raise Empty

    def _look(self) -> None:
        now = time.monotonic()
        self._look_at = now + LOOK_AGAIN_S
        if loop := self.connection.loop:
            loop.call_later(LOOK_AGAIN_S, lambda: None)  # wakes it, which looks then
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        keys = [self._q_for_pri(queue, each) for each in self.priority_steps for queue in queues]
        self._looking = True
        self._in_poll = self.client.connection
        self._brpop_sent_at = now  # type: ignore[assignment]  # None until there is one
        self.client.connection.send_command("EXISTS", *keys)


class Transport(redis.Transport):
    """kombu's for Redis, with that channel."""

    Channel = Channel
    loop: Any = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        self.loop = loop
