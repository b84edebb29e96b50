"""Both ends of the pipe for samples, in one process."""

import threading
from collections.abc import Iterator
from multiprocessing import Pipe

import pytest

from tests.waiting import PATIENCE_S
from workers.sample_pipe import SampleReceiver, SampleSender

Ends = tuple[SampleSender, SampleReceiver]
LARGE = [{"picture": bytes(2**22)}]


@pytest.fixture
def gone() -> threading.Event:
    return threading.Event()


@pytest.fixture
def ends(gone: threading.Event) -> Iterator[Ends]:
    ours, theirs = Pipe()
    sender = SampleSender(ours)
    yield sender, SampleReceiver(theirs, gone.set)
    sender.close()
    assert gone.wait(PATIENCE_S)


def test_samples_are_waited_for(ends: Ends) -> None:
    sender, receiver = ends
    threading.Timer(0.2, sender.send, (1, [{"text": "a"}])).start()
    assert receiver.take(1) == [{"text": "a"}]


def test_those_of_batches_that_never_ran_are_forgotten(ends: Ends) -> None:
    sender, receiver = ends
    for number in range(1, 5):
        sender.send(number, [{"text": f"{number}"}])
    assert receiver.take(4) == [{"text": "4"}]
    assert not receiver._arrived
    sender.send(5, LARGE)
    assert receiver.take(5) == LARGE


def test_a_full_pipe_holds_nobody_up(gone: threading.Event) -> None:
    ours, theirs = Pipe()
    sender = SampleSender(ours)
    for number in range(3):
        sender.send(number, LARGE)
    receiver = SampleReceiver(theirs, gone.set)
    assert receiver.take(2) == LARGE
    sender.close()
    assert gone.wait(PATIENCE_S)


def test_what_cannot_be_sent_is_told_at_once(ends: Ends) -> None:
    sender, receiver = ends
    with pytest.raises(TypeError, match="pickle"):
        sender.send(1, [{"lock": threading.Lock()}])
    sender.send(2, [{"text": "a"}])
    assert receiver.take(2) == [{"text": "a"}]


def test_a_dead_process_is_no_trouble_for_the_sender() -> None:
    ours, theirs = Pipe()
    sender = SampleSender(ours)
    theirs.close()
    sender.send(1, LARGE)
    sender.send(2, LARGE)
    sender.close()
