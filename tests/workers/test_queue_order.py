"""The order of a worker's queues: alone, and as kombu uses it on a real broker."""

from functools import partial
from typing import Any

from shared.ledger.records import Publication
from shared.queues import broker_app, publish
from tests.waiting import PATIENCE_S
from workers.queue_order import HeldFirst

A, B, C = (f"1-interactive.sculptor.{name}" for name in "abc")
BULK_A, BULK_B = (f"2-bulk.sculptor.{name}" for name in "ab")


class Broker:
    """Queues that are full or empty, asked by one channel; a second passes with every answer."""

    def __init__(self, *queues: str) -> None:
        self.held: set[str] = set()
        self.full = set(queues)
        self.now = 0.0
        self.enough = False
        self.order = HeldFirst(
            lambda: self.held, lambda: self.enough, switch_s=10, clock=lambda: self.now
        )
        self.order.update(queues)
        self._count = len(queues)

    def take(self) -> str | None:
        self.now += 1
        asked = self.order.consume(self._count)
        assert len(set(asked)) == len(asked) <= self._count
        answer = next((queue for queue in asked if queue in self.full), None)
        return answer and self.order.rotate(answer)

    def taken(self, count: int) -> list[str | None]:
        return [self.take() for _ in range(count)]


def test_held_queues_come_first_and_no_other_waits_for_ever() -> None:
    broker = Broker(A, B, C)
    broker.held = {B}
    taken = broker.taken(100)
    for other in (A, C):
        places = [place for place, queue in enumerate(taken, 1) if queue == other]
        gaps = [b - a for a, b in zip([0, *places], places, strict=False)]
        assert len(places) >= 8
        assert max(gaps) <= 12
    assert taken.count(B) > 75


def test_who_is_sated_asks_no_queue() -> None:
    sated = True
    order = HeldFirst(lambda: (), sated=lambda: sated)
    order.update([A, BULK_A])
    assert order.consume(2) == []
    sated = False
    assert order.consume(2) == [A, BULK_A]


def test_queues_of_one_kind_take_turns() -> None:
    broker = Broker(A, B, C)
    assert {*broker.taken(3)} == {A, B, C}
    broker.held = {A, B, C}
    taken = broker.taken(9)
    assert [taken.count(queue) for queue in (A, B, C)] == [3, 3, 3]


def test_interactive_is_always_before_bulk() -> None:
    broker = Broker(BULK_A, B, BULK_B)
    broker.held = {BULK_A}
    assert set(broker.taken(100)) == {B}
    broker.full.remove(B)
    taken = broker.taken(50)
    assert taken.count(BULK_A) > 40
    assert taken.count(BULK_B) >= 4


def test_bulk_queues_are_left_alone_while_there_is_enough() -> None:
    broker = Broker(BULK_A, A, BULK_B)
    broker.full.remove(A)
    broker.enough = True
    assert broker.taken(30) == [None] * 30
    broker.enough = False
    assert {*broker.taken(2)} == {BULK_A, BULK_B}


def test_an_empty_queue_does_not_save_up_turns() -> None:
    broker = Broker(A, B)
    broker.held = {A}
    broker.full = set()
    assert broker.taken(30) == [None] * 30
    broker.full = {A, B}
    assert broker.taken(9) == [A] * 9
    broker.full = {A}
    broker.taken(30)
    broker.full = {A, B}
    assert broker.taken(5).count(B) <= 1


def test_queues_may_come_and_go() -> None:
    broker = Broker(A, B)
    broker.taken(2)
    broker.order.update([B, C])
    assert set(broker.order.consume(2)) == {B, C}
    assert broker.order.rotate(A) == A


def test_a_consumer_takes_from_the_held_models_first(servers: Any) -> None:
    app = broker_app(servers.settings, queue_order=partial(HeldFirst, lambda: {B, BULK_B}))
    for queue in (BULK_A, A, BULK_B, B, B):
        publish(app, Publication(queue, 0, (queue,)))
    taken: list[str] = []

    def take(body: Any, message: Any) -> None:
        taken.append(body[0][0])
        message.ack()

    with app.connection_for_read() as connection:
        queues = [app.amqp.queues.select_add(name) for name in (A, B, BULK_A, BULK_B)]
        with connection.Consumer(queues, callbacks=[take]):
            for _ in range(5):
                connection.drain_events(timeout=PATIENCE_S)
    assert taken == [B, B, A, BULK_B, BULK_A]
