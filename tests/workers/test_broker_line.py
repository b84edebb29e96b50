"""Who waits for a message, and who takes what is left over: on a real broker."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis
from celery import Celery

from shared.ledger.records import Publication
from shared.queues import broker_app, publish
from workers.queue_order import HeldFirst

QUEUE = "1-interactive.potter.a"
BULK = "2-bulk.potter.a"


class Consumer:
    """Of both queues. `busy` and `sated` may be changed."""

    def __init__(self, settings: Any) -> None:
        self.busy = self.sated = False
        self.taken: list[str] = []
        order = partial(HeldFirst, lambda: set(), busy=lambda: self.busy, sated=lambda: self.sated)
        self._app = broker_app(
            settings, queue_order=order, transport="workers.broker_line:Transport"
        )
        self._connection = self._app.connection_for_read()
        self._consumer = self._connection.Consumer(
            [self._app.amqp.queues.select_add(name) for name in (QUEUE, BULK)],
            callbacks=[lambda body, message: self._take(body, message)],
        )
        self._consumer.consume()

    def _take(self, body: Any, message: Any) -> None:
        self.taken.append(body[0][0])
        message.ack()

    def drain(self, timeout_s: float = 0.5) -> bool:
        """Take one message; whether there was one."""
        try:
            self._connection.drain_events(timeout=timeout_s)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def app(servers: Any) -> Celery:
    return broker_app(servers.settings)


@pytest.fixture
def consumers(servers: Any) -> Iterator[list[Consumer]]:
    consumers = [Consumer(servers.settings) for _ in range(2)]
    yield consumers
    for consumer in consumers:
        consumer.close()


def in_line(settings: Any) -> int:
    """How many consumers wait at the server."""
    with redis.Redis.from_url(settings.broker_url) as server:
        return int(server.info("clients")["blocked_clients"])


def test_a_busy_worker_does_not_stand_in_line(servers: Any, consumers: list[Consumer]) -> None:
    consumer, _ = consumers
    assert not consumer.drain(0.05)
    assert in_line(servers.settings) == 1
    while consumer.drain(0.05) or in_line(servers.settings):  # what it asked when it was idle
        consumer.busy = True
    assert not consumer.drain(0.05)
    assert in_line(servers.settings) == 0
    consumer.busy = False
    assert not consumer.drain(0.05)
    assert in_line(servers.settings) == 1


def test_it_takes_what_is_left_over_in_order(app: Celery, consumers: list[Consumer]) -> None:
    consumer, _ = consumers
    consumer.busy = True
    for job, queue in [("c", BULK), ("a", QUEUE), ("b", QUEUE)]:
        publish(app, Publication(job, 0, (queue,)))
    while consumer.drain():
        pass
    assert consumer.taken == ["a", "b", "c"]


def test_a_sated_worker_leaves_everything_until_it_is_not(
    app: Celery, consumers: list[Consumer]
) -> None:
    consumer, _ = consumers
    consumer.busy = consumer.sated = True
    publish(app, Publication("a", 0, (QUEUE,)))
    publish(app, Publication("b", 0, (BULK,)))
    while consumer.drain(1.0):  # what it asked when it was made
        pass
    left = {"a", "b"} - {*consumer.taken}
    assert left
    consumer.sated = False
    while consumer.drain(1.0):
        pass
    assert {*consumer.taken} == {"a", "b"}


def test_an_idle_one_is_first(app: Celery, consumers: list[Consumer]) -> None:
    busy, idle = consumers
    busy.busy = True
    for job in "abcdef":
        assert not busy.drain(0.05)
        assert not idle.drain(0.05)
        publish(app, Publication(job, 0, (QUEUE,)))
        assert not busy.drain(0.05)
        assert idle.drain()
    assert idle.taken == list("abcdef")
