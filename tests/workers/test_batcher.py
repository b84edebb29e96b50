"""The batcher, over a real model process that does what its samples say."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.errors import (
    DeadlineExceeded,
    ImagemillError,
    ModelNotAvailable,
    ModelProcessDied,
    OutOfMemory,
    PredictionFailed,
    StepCanceled,
    StepInterrupted,
)
from tests.waiting import PATIENCE_S, until
from tests.workers.fake_family import Arrival
from tests.workers.gate import Gate
from workers.batcher import LINGER_S, MicroBatcher
from workers.model_events import Report
from workers.model_process import ModelProcess
from workers.predictor import Checkpoint
from workers.tickets import Ticket, TicketSample

FOREVER_S = 100 * PATIENCE_S


def texts(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"text": name, **more} for name in names]


def companies(*tickets: Ticket) -> list[list[str]]:
    return [ticket.result().results[0]["company"] for ticket in tickets]


@contextmanager
def occupied(batcher: MicroBatcher, gate: Gate) -> Iterator[Ticket]:
    """The model is busy as long as the block lasts, so that what comes meanwhile waits together."""
    busy = batcher.submit("m", {}, 1, texts("busy", gate=gate))
    until(gate.reached)
    try:
        yield busy
    finally:
        gate.open()


def error(ticket: Ticket) -> ImagemillError:
    raised = ticket.future.exception(PATIENCE_S)
    assert isinstance(raised, ImagemillError)
    return raised


def test_a_lone_sample_is_padded(batcher: MicroBatcher) -> None:
    result = batcher.submit("m", {}, 4, texts("a")).result()
    assert result.results[0]["computed"] == 4
    assert (result.revision, result.batch_class) == ("r1", 4)


def test_samples_of_many_tickets_share_a_batch(batcher: MicroBatcher, gate: Gate) -> None:
    with occupied(batcher, gate):
        first = batcher.submit("m", {"a": 1, "b": 2}, 4, texts("a", "b"))
        second = batcher.submit("m", {"b": 2, "a": 1}, 4, texts("c", "d", "e"))
    assert first.result().results[1]["company"] == ["a", "b", "c", "d"]
    assert [each["company"] for each in second.result().results] == [list("abcd")] * 2 + [["e"]]
    assert [each["text"] for each in second.result().results] == ["c", "d", "e"]


def test_only_samples_with_the_same_key_do(batcher: MicroBatcher, gate: Gate) -> None:
    with occupied(batcher, gate):
        tickets = [
            batcher.submit("m", {"size": 1}, 4, texts("a")),
            batcher.submit("m", {"size": 2}, 4, texts("b")),
            batcher.submit("m", {"size": 1}, 2, texts("c")),
            batcher.submit("m", {"size": 1}, 4, texts("d")),
        ]
    assert companies(*tickets) == [["a", "d"], ["b"], ["c"], ["a", "d"]]


def test_interactive_first_then_the_oldest(batcher: MicroBatcher, gate: Gate) -> None:
    with occupied(batcher, gate):
        bulk = batcher.submit("m", {}, 2, texts("a", "b", "c", "d"), interactive=False)
        later = batcher.submit("m", {}, 2, texts("e"), interactive=False)
        urgent = batcher.submit("m", {}, 2, texts("f"), interactive=True)
    assert companies(bulk, later, urgent) == [["f", "a"], ["d", "e"], ["f", "a"]]


def test_bulk_waits_a_little_for_company(
    batcher: MicroBatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LINGER_S, False, PATIENCE_S)
    first = batcher.submit("m", {}, 2, texts("a"), interactive=False)
    second = batcher.submit("m", {}, 2, texts("b"), interactive=False)
    assert companies(first, second) == [["a", "b"], ["a", "b"]]


def test_the_model_does_not_wait_for_those_who_take_its_results(
    batcher: MicroBatcher, gate: Gate, later: Gate
) -> None:
    busy: list[bool] = []
    with occupied(batcher, gate):
        first = batcher.submit("m", {}, 1, texts("a"))
        first.future.add_done_callback(lambda _: busy.append(bool(batcher._process._orders)))
        second = batcher.submit("m", {}, 1, texts("b", gate=later))
    first.result()
    later.open()
    second.result()
    assert busy == [True]


@pytest.fixture
def later(tmp_path: Path) -> Gate:
    """For what comes behind something else that waits at a gate."""
    (tmp_path / "later").mkdir()
    return Gate(tmp_path / "later")


def await_ahead(batcher: MicroBatcher, ticket: Ticket) -> None:
    """Wait until the model has this one's batch as that which follows the running one."""

    def has() -> bool:
        with batcher._changed:
            return bool(batcher._ahead and batcher._ahead.group[0].ticket is ticket)

    until(has)


def test_the_samples_of_the_next_batch_arrive_while_one_runs(
    batcher: MicroBatcher, gate: Gate, tmp_path: Path
) -> None:
    arrival = Arrival(tmp_path / "arrived")
    with occupied(batcher, gate) as busy:
        following = batcher.submit("m", {}, 2, texts("a", "b", arrival=arrival))
        until(arrival.file.exists)
        assert not busy.future.done()
    assert companies(following) == [["a", "b"]]


def test_the_next_batch_begins_without_the_worker(
    batcher: MicroBatcher, gate: Gate, later: Gate
) -> None:
    with occupied(batcher, gate):
        following = batcher.submit("m", {}, 2, texts("a", "b", gate=later))
        await_ahead(batcher, following)
        with batcher._changed:  # whoever needs that waits
            gate.open()
            until(later.reached)
    later.open()
    assert companies(following) == [["a", "b"]]


def test_what_is_more_urgent_overtakes_what_was_ordered(batcher: MicroBatcher, gate: Gate) -> None:
    with occupied(batcher, gate):
        bulk = batcher.submit("m", {}, 1, texts("a"), interactive=False)
        await_ahead(batcher, bulk)
        urgent = batcher.submit("m", {}, 1, texts("b"))
        await_ahead(batcher, urgent)
    [last], [first] = bulk.result().results, urgent.result().results
    assert first["at"] < last["at"]
    assert (first["text"], last["text"]) == ("b", "a")


def test_what_was_ordered_and_is_canceled_is_not_run(
    batcher: MicroBatcher, gate: Gate, tmp_path: Path
) -> None:
    file = str(tmp_path / "file")
    with occupied(batcher, gate) as busy:
        canceled = batcher.submit("m", {}, 1, texts("a", do="die once", file=file))
        other = batcher.submit("m", {}, 1, texts("b"))
        await_ahead(batcher, canceled)
        canceled.cancel()
        await_ahead(batcher, other)
    assert companies(busy, other) == [["busy"], ["b"]]
    assert not Path(file).exists()


def test_many_that_overtake_each_other_all_get_their_results(batcher: MicroBatcher) -> None:
    tickets = []
    for number in range(60):
        interactive, wanted = number % 3 == 0, number % 7 != 0
        ticket = batcher.submit(
            "m", {"steps": 1, "seconds": 0.01}, 2, texts(f"{number}"), interactive
        )
        time.sleep(0.004 * (number % 4))
        if wanted:
            tickets.append((number, ticket))
        else:
            ticket.cancel()
    assert [ticket.result().results[0]["text"] for _, ticket in tickets] == [
        f"{number}" for number, _ in tickets
    ]


def test_a_death_costs_what_was_ordered_ahead_nothing(
    batcher: MicroBatcher, process: ModelProcess, gate: Gate
) -> None:
    with occupied(batcher, gate) as first:
        second = batcher.submit("m", {}, 2, texts("b", "c"))
        await_ahead(batcher, second)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
    assert companies(first, second) == [["busy"], ["b", "c"]]


def test_what_may_end_its_process_is_not_ordered_ahead(batcher: MicroBatcher, gate: Gate) -> None:
    with occupied(batcher, gate) as busy:
        alone = batcher.submit("m", {}, 1, texts("a"), alone=True)
        time.sleep(0.2)
        assert batcher._ahead is None
    assert companies(busy, alone) == [["busy"], ["a"]]


def test_a_deaf_model_holds_nobody_up(batcher: MicroBatcher) -> None:
    """Its pipe is full of samples; the batcher goes on, and ends it."""
    deaf = batcher.submit("m", {}, 1, texts("a", do="be deaf"))
    until(lambda: batcher._running)
    time.sleep(0.2)
    large = batcher.submit("m", {}, 1, texts("b", burden=bytes(2**24)))
    time.sleep(0.2)
    began = time.monotonic()
    deaf.cancel()
    assert isinstance(error(deaf), StepCanceled)
    assert time.monotonic() - began < 30  # of the minute for which it hears nothing
    assert companies(large) == [["b"]]


def test_progress_is_over_all_samples(
    batcher: MicroBatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, seen = TicketSample.hear, set()

    def listen(sample: TicketSample, report: Report, place: int) -> None:
        hear(sample, report, place)
        seen.add((round(sample.ticket.progress, 3), sample.ticket.message))

    monkeypatch.setattr(TicketSample, "hear", listen)
    ticket = batcher.submit("m", {"steps": 4, "seconds": 0.05}, 1, texts("a", "b"))
    assert ticket.result().run_ms >= 2 * 4 * 50
    assert {(0.25, "step 2 of 4"), (0.75, "step 2 of 4")} <= seen
    assert ticket.progress == 1


def test_canceling_one_of_a_batch_leaves_the_others(batcher: MicroBatcher, gate: Gate) -> None:
    with batcher._changed:  # until both are there
        kept = batcher.submit("m", {}, 2, texts("a", gate=gate))
        dropped = batcher.submit("m", {}, 2, texts("b"))
    until(gate.reached)
    dropped.cancel()
    assert isinstance(error(dropped), StepCanceled)
    gate.open()
    assert kept.result().results[0]["company"] == ["a", "b"]


def test_a_batch_stops_when_all_are_canceled(
    batcher: MicroBatcher, process: ModelProcess, tmp_path: Path
) -> None:
    pid = process.pid
    params = {"steps": 100, "seconds": 0.1, "stopped": str(tmp_path / "stopped")}
    tickets = [batcher.submit("m", params, 2, texts(name)) for name in "ab"]
    while not tickets[0].progress:
        time.sleep(0.01)
    for ticket in tickets:
        ticket.cancel()
    assert companies(batcher.submit("m", {}, 1, texts("next"))) == [["next"]]
    assert int((tmp_path / "stopped").read_text()) < 100
    assert process.pid == pid


def test_a_waiting_ticket_is_canceled_at_once(batcher: MicroBatcher, gate: Gate) -> None:
    with occupied(batcher, gate) as busy:
        waiting = batcher.submit("m", {}, 2, texts("a"))
        waiting.cancel()
        assert isinstance(error(waiting), StepCanceled)
    assert busy.result().results


def test_a_model_that_does_not_stop_is_killed(batcher: MicroBatcher) -> None:
    ticket = batcher.submit("m", {}, 1, texts("a", do="hang"))
    time.sleep(0.2)
    ticket.cancel()
    assert batcher.submit("m", {}, 1, texts("b")).result().results[0]["text"] == "b"


def test_the_time_limit_holds_for_a_hung_step_and_for_those_that_wait(
    batcher: MicroBatcher,
) -> None:
    hung = batcher.submit("m", {}, 1, texts("a", do="hang"), timeout_s=0.5)
    waiting = batcher.submit("m", {}, 1, texts("b"), timeout_s=0.4)
    patient = batcher.submit("m", {}, 1, texts("c"), timeout_s=PATIENCE_S)
    assert isinstance(error(hung), DeadlineExceeded)
    assert isinstance(error(waiting), DeadlineExceeded)
    assert patient.result().results[0]["text"] == "c"


def test_a_killed_model_process_is_tried_again(
    batcher: MicroBatcher, process: ModelProcess, gate: Gate
) -> None:
    with batcher._changed:  # until all are there
        tickets = [batcher.submit("m", {}, 4, texts(name, gate=gate)) for name in "abc"]
    until(gate.reached)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    gate.open()
    results = [ticket.result() for ticket in tickets]
    assert [each.results[0]["company"] for each in results] == [["a"], ["b"], ["c"]]
    assert {each.results[0]["computed"] for each in results} == {4}


def test_a_lone_sample_gets_a_second_try(batcher: MicroBatcher, tmp_path: Path) -> None:
    ticket = batcher.submit("m", {}, 1, texts("a", do="die once", file=str(tmp_path / "died")))
    assert ticket.result().results[0]["text"] == "a"


@pytest.mark.parametrize(
    ("do", "kind", "words"),
    [
        ("die", ModelProcessDied, "SIGKILL"),
        ("segfault", ModelProcessDied, "SIGSEGV"),
        ("raise", PredictionFailed, "too green"),
    ],
)
def test_a_poison_sample_fails_alone(
    batcher: MicroBatcher, gate: Gate, do: str, kind: type[Exception], words: str
) -> None:
    with occupied(batcher, gate):
        good = [batcher.submit("m", {}, 3, texts(name)) for name in "ab"]
        bad = batcher.submit("m", {}, 3, texts("poison", do=do))
    raised = error(bad)
    assert isinstance(raised, kind)
    assert words in raised.message
    assert companies(*good) == [["a"], ["b"]]


def test_a_step_that_runs_alone_harms_nobody_and_gets_one_try(
    batcher: MicroBatcher, gate: Gate, tmp_path: Path
) -> None:
    file = str(tmp_path / "died")
    with occupied(batcher, gate):
        good = [batcher.submit("m", {}, 3, texts(name)) for name in "ab"]
        bad = batcher.submit("m", {}, 3, texts("bad", do="die once", file=file), alone=True)
    assert isinstance(error(bad), ModelProcessDied)
    assert companies(*good) == [["a", "b"], ["a", "b"]]


def test_a_step_that_runs_alone_keeps_its_samples_together(
    batcher: MicroBatcher, gate: Gate
) -> None:
    with occupied(batcher, gate):
        other = batcher.submit("m", {}, 4, texts("a"))
        lone = batcher.submit("m", {}, 4, texts("b", "c"), alone=True)
    assert companies(other, lone) == [["a"], ["b", "c"]]
    heavy = texts("d", do="fill memory in company") + texts("e")
    result = batcher.submit("m", {}, 4, heavy, alone=True).result()
    assert [each["company"] for each in result.results] == [["d"], ["e"]]


def test_a_ticket_with_one_bad_sample_fails_as_a_whole(batcher: MicroBatcher) -> None:
    ticket = batcher.submit("m", {}, 1, [*texts("a"), *texts("b", do="raise"), *texts("c")])
    assert isinstance(error(ticket), PredictionFailed)
    assert not batcher._waiting


def test_a_sample_that_fails_in_place_is_not_tried_again_and_harms_nobody(
    batcher: MicroBatcher, gate: Gate
) -> None:
    with occupied(batcher, gate):
        good, bad = (
            batcher.submit("m", {}, 4, [{"text": "a", **more}])
            for more in ({}, {"do": "fail in place"})
        )
    assert good.result().results[0]["company"] == ["a", "a"]
    with pytest.raises(PredictionFailed, match="not this one"):
        bad.result()


def test_out_of_memory_is_tried_at_batch_size_1_and_told(batcher: MicroBatcher, gate: Gate) -> None:
    with occupied(batcher, gate):
        heavy = batcher.submit("m", {}, 4, texts("a", do="fill memory in company"))
        light = batcher.submit("m", {}, 4, texts("b"))
    result = heavy.result()
    assert (result.batch_class, result.results[0]["computed"]) == (1, 1)
    assert light.result().batch_class == 1


def test_out_of_memory_alone_is_final(batcher: MicroBatcher) -> None:
    assert isinstance(error(batcher.submit("m", {}, 4, texts("a", do="fill memory"))), OutOfMemory)


def test_a_model_that_cannot_be_loaded_fails_its_tickets() -> None:
    process = ModelProcess(
        "tests.workers.fake_family:Fake", "cpu", [Checkpoint("m", Path("broken"), "r1")]
    )
    batcher = MicroBatcher(process)
    try:
        raised = error(batcher.submit("m", {}, 1, texts("a")))
        assert isinstance(raised, ModelNotAvailable)
        assert "left_knee" in raised.message
    finally:
        batcher.close()
        process.close()


def test_a_model_that_comes_back_fails_nobody(tmp_path: Path) -> None:
    checkpoints = [Checkpoint("m", tmp_path, "r1")]
    process = ModelProcess("tests.workers.fake_family:Fake", "cpu", checkpoints)
    batcher = MicroBatcher(process)
    try:
        assert process.wait_ready(PATIENCE_S)
        (tmp_path / "away").touch()
        process.kill()
        ticket = batcher.submit("m", {}, 1, texts("a"))
        while not process._failures:
            time.sleep(0.01)
        assert not ticket.wait(0.3)
        (tmp_path / "away").unlink()
        assert ticket.result().results
        assert process.error is None
    finally:
        batcher.close()
        process.close()


@pytest.fixture(scope="module")
def way_in(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What models wait at that are being loaded."""
    return Gate(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def narrow(way_in: Gate) -> Iterator[ModelProcess]:
    """Models that need all the memory; `slow` and `broken` wait at the gate."""
    checkpoints = [
        Checkpoint(name, Path(name), "r1", settings=settings, memory_gb=1)
        for name, settings in {
            "a": {},
            "b": {},
            "slow": {"gate": way_in},
            "broken": {"gate": way_in},
            "stuck": {"seconds": 600},
        }.items()
    ]
    process = ModelProcess("tests.workers.fake_family:Fake", "cpu", checkpoints, memory_gb=1)
    assert process.wait_ready(PATIENCE_S)
    yield process
    process.close()


@pytest.fixture
def shared(narrow: ModelProcess, way_in: Gate) -> Iterator[MicroBatcher]:
    """A batcher whose models share one place, with turns of half a second; it holds a."""
    way_in.shut()
    batcher = MicroBatcher(narrow, patience_s=0.2, switch_s=0.5)
    batcher.submit("a", {}, 1, texts("first")).result()
    yield batcher
    way_in.open()
    batcher.close()
    batcher._thread.join(PATIENCE_S)


def work(batcher: MicroBatcher, model: str, count: int = 1, **more: Any) -> list[Ticket]:
    """Batches of one sample that take a twentieth of a second each."""
    params = {"seconds": 0.05}
    return [batcher.submit(model, params, 1, texts(model), **more) for _ in range(count)]


def times(*tickets: Ticket) -> list[float]:
    return [ticket.result().results[0]["at"] for ticket in tickets]


def test_a_model_in_memory_goes_first_but_not_for_long(shared: MicroBatcher) -> None:
    time.sleep(0.6)  # since it was loaded
    with shared._changed:
        (other,), many = work(shared, "b"), work(shared, "a", 25)
        asked = time.monotonic()
    at, *those = times(other, *many)
    assert at - asked > 0.4
    assert 0 < sum(each < at for each in those) < 25


def test_the_most_urgent_goes_first_whatever_is_in_memory(shared: MicroBatcher) -> None:
    with shared._changed:
        bulk, (urgent,) = work(shared, "a", 20, interactive=False), work(shared, "b")
    at = times(urgent, *bulk)
    assert sum(each < at[0] for each in at[1:]) <= 5


def test_models_that_do_not_fit_together_take_turns(shared: MicroBatcher) -> None:
    tickets = [work(shared, "ab"[number % 2])[0] for number in range(50)]
    results = [ticket.result().results[0] for ticket in tickets]
    loads = max(len(result["loads"]) for result in results)
    before = min(len(result["loads"]) for result in results)
    assert 2 <= loads - before < 40
    a, b = (
        [result["at"] for ticket, result in zip(tickets, results, strict=True) if ticket.model == m]
        for m in "ab"
    )
    assert min(b) < max(a)
    assert min(a) < max(b)


def test_a_ticket_is_canceled_at_once_while_its_model_is_loaded(
    shared: MicroBatcher, narrow: ModelProcess, way_in: Gate
) -> None:
    pid = narrow.pid
    with shared._changed:
        (canceled,) = work(shared, "slow")
        late = shared.submit("slow", {}, 1, texts("late"), timeout_s=0.2)
    until(way_in.reached)
    canceled.cancel()
    assert isinstance(error(canceled), StepCanceled)
    assert isinstance(error(late), DeadlineExceeded)
    assert narrow.held == frozenset()
    way_in.open()
    (result,) = shared.submit("a", {}, 1, texts("next")).result().results
    assert result["pid"] == pid  # though nobody wanted it, the load was let end
    assert result["loads"][-2:] == ["slow", "a"]


def test_close_does_not_wait_for_a_model_to_load(narrow: ModelProcess, way_in: Gate) -> None:
    way_in.shut()
    batcher = MicroBatcher(narrow)
    (ticket,) = work(batcher, "slow")
    until(way_in.reached)
    batcher.close(grace_s=FOREVER_S)
    assert isinstance(error(ticket), StepInterrupted)
    way_in.open()
    batcher._thread.join(PATIENCE_S)


def test_a_model_that_cannot_be_loaded_fails_its_own_tickets(
    shared: MicroBatcher, way_in: Gate
) -> None:
    with shared._changed:
        broken = work(shared, "broken", 3)
    until(way_in.reached)
    (other,) = work(shared, "b")
    way_in.open()
    assert {type(error(each)) for each in broken} == {ModelNotAvailable}
    assert other.result().results[0]["loads"].count("broken") == 1


def test_a_death_while_loading_is_forgiven_once(tmp_path: Path) -> None:
    checkpoints = [
        Checkpoint("a", Path("a"), "r1"),
        Checkpoint("fragile", Path("b"), "r1", settings={"file": str(tmp_path / "died")}),
        Checkpoint("deadly", Path("deadly"), "r1"),
    ]
    process = ModelProcess("tests.workers.fake_family:Fake", "cpu", checkpoints)
    batcher = MicroBatcher(process)
    try:
        assert work(batcher, "fragile")[0].result().results
        # Anew, for it has been loaded since; in a process that began with another model.
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        assert work(batcher, "a")[0].result().results
        (tmp_path / "died").unlink()
        assert work(batcher, "fragile")[0].result().results
        (deadly,) = work(batcher, "deadly")
        assert isinstance(error(deadly), ModelProcessDied)
        assert work(batcher, "a")[0].result().results
    finally:
        batcher.close()
        process.close()


def test_a_load_that_hangs_is_ended(shared: MicroBatcher) -> None:
    shared._load_limit_s = 1
    (stuck,) = work(shared, "stuck")
    raised = error(stuck)
    assert isinstance(raised, ModelProcessDied)
    assert "while it loaded stuck" in raised.message
    assert work(shared, "a")[0].result().results


def begin(batcher: MicroBatcher, params: dict[str, Any], name: str) -> Ticket:
    """A lone sample that the model has begun and told progress of."""
    ticket = batcher.submit("m", {"stopped": os.devnull, **params}, 1, texts(name))
    until(lambda: ticket.progress)
    return ticket


def test_it_tells_whether_the_model_may_soon_be_free(batcher: MicroBatcher) -> None:
    assert batcher.may_end_within(0)
    ticket = begin(batcher, {"steps": 1000, "seconds": 0.1}, "a")  # 100 s
    assert not batcher.may_end_within(10)
    assert batcher.may_end_within(FOREVER_S)
    ticket.cancel()
    assert batcher.may_end_within(10)


@pytest.fixture
def closing(process: ModelProcess) -> Iterator[MicroBatcher]:
    """A batcher for tests that close it themselves."""
    batcher = MicroBatcher(process, patience_s=1)
    yield batcher
    batcher.close()
    batcher._thread.join(PATIENCE_S)


def test_close_lets_end_what_ends_in_time(closing: MicroBatcher) -> None:
    ticket = begin(closing, {"steps": 10, "seconds": 0.05}, "a")
    closing.close(grace_s=FOREVER_S)
    assert ticket.result().results
    with pytest.raises(StepInterrupted):
        closing.submit("m", {}, 1, texts("c"))


def test_close_interrupts_at_once_what_the_model_has_not_begun(
    closing: MicroBatcher, gate: Gate
) -> None:
    with occupied(closing, gate) as running:
        waiting = closing.submit("m", {}, 1, texts("b"))
        thread = threading.Thread(target=closing.close, args=(FOREVER_S,))
        thread.start()
        assert isinstance(error(waiting), StepInterrupted)
    assert running.result().results
    thread.join(PATIENCE_S)


def test_close_does_not_wait_for_what_will_not_end_in_time(closing: MicroBatcher) -> None:
    ticket = begin(closing, {"steps": 1_000_000, "seconds": 0.1}, "a")  # a day
    thread = threading.Thread(target=closing.close, args=(FOREVER_S,))
    thread.start()
    assert isinstance(error(ticket), StepInterrupted)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_close_gives_the_whole_grace_to_what_tells_no_progress(closing: MicroBatcher) -> None:
    ticket = closing.submit("m", {}, 1, texts("a", do="hang"))
    until(lambda: ticket.begun_at)
    started = time.monotonic()
    closing.close(grace_s=0.8)
    assert time.monotonic() - started >= 0.8
    assert isinstance(error(ticket), StepInterrupted)


def test_a_second_close_cuts_the_first_short(closing: MicroBatcher) -> None:
    ticket = closing.submit("m", {}, 1, texts("a", do="hang"))
    until(lambda: ticket.begun_at)
    first = threading.Thread(target=closing.close, args=(FOREVER_S,))
    first.start()
    closing.close(0)
    first.join(PATIENCE_S)
    assert not first.is_alive()
    assert isinstance(error(ticket), StepInterrupted)


def test_many_threads_get_their_own_results(batcher: MicroBatcher) -> None:
    wrong: list[Sequence[Any]] = []

    def one(number: int) -> None:
        names = [f"{number}-{i}" for i in range(5)]
        ticket = batcher.submit("m", {"odd": number % 2}, 8, texts(*names), number % 3 == 0)
        results = [each["text"] for each in ticket.result().results]
        if results != names:
            wrong.append(results)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not wrong
