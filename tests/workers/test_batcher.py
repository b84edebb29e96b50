"""The batcher, over a real model process that does what its samples say."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
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
from tests.workers.fake_family import Arrival
from workers.batcher import MicroBatcher
from workers.model_process import ModelProcess
from workers.predictor import Checkpoint
from workers.tickets import Ticket

SLOW = {"steps": 10, "seconds": 0.1}


def texts(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"text": name, **more} for name in names]


def companies(*tickets: Ticket) -> list[list[str]]:
    return [ticket.result().results[0]["company"] for ticket in tickets]


def occupy(batcher: MicroBatcher, seconds: float = 0.4) -> Ticket:
    """Keep the model busy, so that what follows waits together."""
    busy = batcher.submit("m", {"steps": 1, "seconds": seconds}, 1, texts("busy"))
    while not batcher._running and not busy.future.done():
        time.sleep(0.005)
    return busy


def error(ticket: Ticket) -> ImagemillError:
    raised = ticket.future.exception(30)
    assert isinstance(raised, ImagemillError)
    return raised


def test_a_lone_sample_goes_at_once_and_is_padded(batcher: MicroBatcher) -> None:
    started = time.monotonic()
    result = batcher.submit("m", {}, 4, texts("a")).result()
    assert time.monotonic() - started < 1
    assert result.results[0]["computed"] == 4
    assert (result.revision, result.batch_class) == ("r1", 4)


def test_samples_of_many_tickets_share_a_batch(batcher: MicroBatcher) -> None:
    occupy(batcher)
    first = batcher.submit("m", {"a": 1, "b": 2}, 4, texts("a", "b"))
    second = batcher.submit("m", {"b": 2, "a": 1}, 4, texts("c", "d", "e"))
    assert first.result().results[1]["company"] == ["a", "b", "c", "d"]
    assert [each["company"] for each in second.result().results] == [list("abcd")] * 2 + [["e"]]
    assert [each["text"] for each in second.result().results] == ["c", "d", "e"]


def test_only_samples_with_the_same_key_do(batcher: MicroBatcher) -> None:
    occupy(batcher)
    tickets = [
        batcher.submit("m", {"size": 1}, 4, texts("a")),
        batcher.submit("m", {"size": 2}, 4, texts("b")),
        batcher.submit("m", {"size": 1}, 2, texts("c")),
        batcher.submit("m", {"size": 1}, 4, texts("d")),
    ]
    assert companies(*tickets) == [["a", "d"], ["b"], ["c"], ["a", "d"]]


def test_interactive_first_then_the_oldest(batcher: MicroBatcher) -> None:
    occupy(batcher)
    bulk = batcher.submit("m", {}, 2, texts("a", "b", "c", "d"), interactive=False)
    later = batcher.submit("m", {}, 2, texts("e"), interactive=False)
    urgent = batcher.submit("m", {}, 2, texts("f"), interactive=True)
    assert companies(bulk, later, urgent) == [["f", "a"], ["d", "e"], ["f", "a"]]


def test_bulk_waits_a_little_for_company(batcher: MicroBatcher) -> None:
    first = batcher.submit("m", {}, 2, texts("a"), interactive=False)
    time.sleep(0.03)
    second = batcher.submit("m", {}, 2, texts("b"), interactive=False)
    assert companies(first, second) == [["a", "b"], ["a", "b"]]


def test_the_model_does_not_wait_for_those_who_take_its_results(batcher: MicroBatcher) -> None:
    occupy(batcher)
    first = batcher.submit("m", {}, 1, texts("a"))
    second = batcher.submit("m", {"steps": 1, "seconds": 0.2}, 1, texts("b"))
    ended: list[bool] = []
    busy: list[bool] = []
    first.future.add_done_callback(lambda _: ended.append(second.future.done()))
    first.future.add_done_callback(lambda _: busy.append(bool(batcher._process._orders)))
    second.result()
    assert (ended, busy) == ([False], [True])


def ordered_ahead(batcher: MicroBatcher) -> None:
    """Wait until the model has the batch that follows the running one."""
    limit = time.monotonic() + 10
    while not batcher._ahead:
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_the_samples_of_the_next_batch_arrive_while_one_runs(batcher: MicroBatcher) -> None:
    busy = occupy(batcher)
    following = batcher.submit("m", {}, 2, texts("a", "b", arrived=Arrival()))
    ended = busy.result().results[0]["at"]
    assert all(each["arrived"] < ended < each["at"] for each in following.result().results)


def test_the_next_batch_begins_without_the_worker(batcher: MicroBatcher) -> None:
    occupy(batcher)
    following = batcher.submit("m", {}, 2, texts("a", "b"))
    ordered_ahead(batcher)
    with batcher._changed:  # whoever needs that waits
        time.sleep(0.8)
        held_until = time.monotonic()
    assert following.result().results[0]["at"] < held_until


def test_what_is_more_urgent_overtakes_what_was_ordered(batcher: MicroBatcher) -> None:
    busy = occupy(batcher)
    bulk = batcher.submit("m", {}, 1, texts("a"), interactive=False)
    ordered_ahead(batcher)
    urgent = batcher.submit("m", {}, 1, texts("b"))
    assert not busy.future.done()
    [last], [first] = bulk.result().results, urgent.result().results
    assert first["at"] < last["at"]
    assert (first["text"], last["text"]) == ("b", "a")


def test_what_was_ordered_and_is_canceled_is_not_run(batcher: MicroBatcher, tmp_path: Path) -> None:
    busy = occupy(batcher)
    file = str(tmp_path / "file")
    canceled = batcher.submit("m", {}, 1, texts("a", do="die once", file=file))
    later = batcher.submit("m", {}, 1, texts("b"))
    ordered_ahead(batcher)
    canceled.cancel()
    assert companies(busy, later) == [["busy"], ["b"]]
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
    batcher: MicroBatcher, process: ModelProcess
) -> None:
    first = batcher.submit("m", SLOW, 1, texts("a"))
    second = batcher.submit("m", {}, 2, texts("b", "c"))
    ordered_ahead(batcher)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    assert companies(first, second) == [["a"], ["b", "c"]]


def test_what_may_end_its_process_is_not_ordered_ahead(batcher: MicroBatcher) -> None:
    busy = occupy(batcher)
    alone = batcher.submit("m", {}, 1, texts("a"), alone=True)
    time.sleep(0.2)
    assert batcher._ahead is None
    assert companies(busy, alone) == [["busy"], ["a"]]


def test_a_deaf_model_holds_nobody_up(batcher: MicroBatcher) -> None:
    """Its pipe is full of samples; the batcher goes on, and ends it."""
    deaf = batcher.submit("m", {}, 1, texts("a", do="be deaf"))
    while not batcher._running:
        time.sleep(0.005)
    time.sleep(0.2)
    large = batcher.submit("m", {}, 1, texts("b", burden=bytes(2**24)))
    time.sleep(0.2)
    began = time.monotonic()
    deaf.cancel()
    assert isinstance(error(deaf), StepCanceled)
    assert time.monotonic() - began < 1
    assert companies(large) == [["b"]]


def test_progress_is_over_all_samples(batcher: MicroBatcher) -> None:
    ticket = batcher.submit("m", {"steps": 4, "seconds": 0.1}, 1, texts("a", "b"))
    seen = set()
    while not ticket.wait(0.02):
        seen.add((round(ticket.progress, 3), ticket.message))
    assert {(0.25, "step 2 of 4"), (0.75, "step 2 of 4")} <= seen
    assert ticket.progress == 1
    assert 800 <= ticket.result().run_ms < 2000


def test_canceling_one_of_a_batch_leaves_the_others(batcher: MicroBatcher) -> None:
    occupy(batcher)
    kept = batcher.submit("m", SLOW, 2, texts("a"))
    dropped = batcher.submit("m", SLOW, 2, texts("b"))
    while not kept.progress:
        time.sleep(0.01)
    dropped.cancel()
    assert isinstance(error(dropped), StepCanceled)
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
    assert batcher.submit("m", {}, 1, texts("next")).wait(2)
    assert int((tmp_path / "stopped").read_text()) < 20
    assert process.pid == pid


def test_a_waiting_ticket_is_canceled_at_once(batcher: MicroBatcher) -> None:
    busy = occupy(batcher)
    waiting = batcher.submit("m", {}, 2, texts("a"))
    waiting.cancel()
    assert isinstance(error(waiting), StepCanceled)
    assert not busy.future.done()
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
    patient = batcher.submit("m", {}, 1, texts("c"), timeout_s=60)
    started = time.monotonic()
    assert isinstance(error(hung), DeadlineExceeded)
    assert isinstance(error(waiting), DeadlineExceeded)
    assert time.monotonic() - started < 1.5
    assert patient.result().results[0]["text"] == "c"


def test_a_killed_model_process_is_tried_again(
    batcher: MicroBatcher, process: ModelProcess
) -> None:
    tickets = [batcher.submit("m", SLOW, 4, texts(name)) for name in "abc"]
    while not tickets[0].progress:
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
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
    batcher: MicroBatcher, do: str, kind: type[Exception], words: str
) -> None:
    occupy(batcher)
    good = [batcher.submit("m", {}, 3, texts(name)) for name in "ab"]
    bad = batcher.submit("m", {}, 3, texts("poison", do=do))
    raised = error(bad)
    assert isinstance(raised, kind)
    assert words in raised.message
    assert companies(*good) == [["a"], ["b"]]


def test_a_step_that_runs_alone_harms_nobody_and_gets_one_try(
    batcher: MicroBatcher, tmp_path: Path
) -> None:
    occupy(batcher)
    file = str(tmp_path / "died")
    good = [batcher.submit("m", {}, 3, texts(name)) for name in "ab"]
    bad = batcher.submit("m", {}, 3, texts("bad", do="die once", file=file), alone=True)
    assert isinstance(error(bad), ModelProcessDied)
    assert companies(*good) == [["a", "b"], ["a", "b"]]


def test_a_step_that_runs_alone_keeps_its_samples_together(batcher: MicroBatcher) -> None:
    occupy(batcher)
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
    batcher: MicroBatcher,
) -> None:
    good, bad = (
        batcher.submit("m", {}, 4, [{"text": "a", **more}], interactive=False)
        for more in ({}, {"do": "fail in place"})
    )
    assert good.result().results[0]["company"] == ["a", "a"]
    with pytest.raises(PredictionFailed, match="not this one"):
        bad.result()


def test_out_of_memory_is_tried_at_batch_size_1_and_told(batcher: MicroBatcher) -> None:
    occupy(batcher)
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
        assert process.wait_ready(20)
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
def narrow() -> Iterator[ModelProcess]:
    """Models that need all the memory, and take a while to load."""
    checkpoints = [
        Checkpoint(name, Path(name), "r1", settings={"seconds": seconds}, memory_gb=1)
        for name, seconds in {"a": 0, "b": 0, "slow": 0.7, "stuck": 600, "broken": 0.2}.items()
    ]
    process = ModelProcess("tests.workers.fake_family:Fake", "cpu", checkpoints, memory_gb=1)
    assert process.wait_ready(30)
    yield process
    process.close()


@pytest.fixture
def shared(narrow: ModelProcess) -> Iterator[MicroBatcher]:
    """A batcher whose models share one place, with turns of half a second; it holds a."""
    batcher = MicroBatcher(narrow, patience_s=0.2, switch_s=0.5, load_limit_s=1)
    batcher.submit("a", {}, 1, texts("first")).result()
    yield batcher
    batcher.close()
    batcher._thread.join(10)


def work(batcher: MicroBatcher, model: str, count: int = 1, **more: Any) -> list[Ticket]:
    """Batches of one sample that take a twentieth of a second each."""
    params = {"seconds": 0.05}
    return [batcher.submit(model, params, 1, texts(model), **more) for _ in range(count)]


def times(*tickets: Ticket) -> list[float]:
    return [ticket.result().results[0]["at"] for ticket in tickets]


def await_load(batcher: MicroBatcher, model: str) -> None:
    while not batcher._process._orders or model in batcher._process.held:
        time.sleep(0.005)


def test_a_model_in_memory_goes_first_but_not_for_long(shared: MicroBatcher) -> None:
    time.sleep(0.6)  # since it was loaded
    with shared._changed:
        (other,), many = work(shared, "b"), work(shared, "a", 25)
        asked = time.monotonic()
    at, *those = times(other, *many)
    assert at - asked > 0.4
    assert 0 < sum(each < at for each in those) < 25


def test_the_most_urgent_goes_first_whatever_is_in_memory(shared: MicroBatcher) -> None:
    bulk = work(shared, "a", 20, interactive=False)
    (urgent,) = work(shared, "b")
    at = times(urgent, *bulk)
    assert sum(each < at[0] for each in at[1:]) <= 5


def test_models_that_do_not_fit_together_take_turns(shared: MicroBatcher) -> None:
    tickets = [work(shared, "ab"[number % 2])[0] for number in range(50)]
    results = [ticket.result().results[0] for ticket in tickets]
    loads = max(len(result["loads"]) for result in results)
    before = min(len(result["loads"]) for result in results)
    assert 2 <= loads - before <= 15
    a, b = (
        [result["at"] for ticket, result in zip(tickets, results, strict=True) if ticket.model == m]
        for m in "ab"
    )
    assert min(b) < max(a)
    assert min(a) < max(b)


def test_a_ticket_is_canceled_at_once_while_its_model_is_loaded(
    shared: MicroBatcher, narrow: ModelProcess
) -> None:
    pid = narrow.pid
    (canceled,) = work(shared, "slow")
    late = shared.submit("slow", {}, 1, texts("late"), timeout_s=0.2)
    await_load(shared, "slow")
    started = time.monotonic()
    canceled.cancel()
    assert isinstance(error(canceled), StepCanceled)
    assert time.monotonic() - started < 0.5
    assert isinstance(error(late), DeadlineExceeded)
    assert time.monotonic() - started < 0.5
    assert narrow.held == frozenset()
    (result,) = shared.submit("a", {}, 1, texts("next")).result().results
    assert result["pid"] == pid  # though nobody wanted it, the load was let end
    assert result["loads"][-2:] == ["slow", "a"]


def test_close_does_not_wait_for_a_model_to_load(narrow: ModelProcess) -> None:
    batcher = MicroBatcher(narrow)
    (ticket,) = work(batcher, "slow")
    await_load(batcher, "slow")
    started = time.monotonic()
    batcher.close(60)
    assert isinstance(error(ticket), StepInterrupted)
    assert time.monotonic() - started < 0.5
    batcher._thread.join(10)


def test_a_model_that_cannot_be_loaded_fails_its_own_tickets(shared: MicroBatcher) -> None:
    broken = work(shared, "broken", 3)
    await_load(shared, "broken")
    (other,) = work(shared, "b")
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
    (stuck,) = work(shared, "stuck")
    raised = error(stuck)
    assert isinstance(raised, ModelProcessDied)
    assert "while it loaded stuck" in raised.message
    assert work(shared, "a")[0].result().results


def begin(batcher: MicroBatcher, params: dict[str, Any], name: str) -> Ticket:
    """A lone sample that the model has begun and told progress of."""
    ticket = batcher.submit("m", {"stopped": os.devnull, **params}, 1, texts(name))
    while not ticket.progress:
        time.sleep(0.005)
    return ticket


def test_it_tells_whether_the_model_may_soon_be_free(batcher: MicroBatcher) -> None:
    assert batcher.may_end_within(0)
    ticket = begin(batcher, {"steps": 1000, "seconds": 0.1}, "a")  # 100 s
    assert not batcher.may_end_within(10)
    assert batcher.may_end_within(1000)
    ticket.cancel()
    assert batcher.may_end_within(10)


@pytest.fixture
def closing(process: ModelProcess) -> Iterator[MicroBatcher]:
    """A batcher for tests that close it themselves."""
    batcher = MicroBatcher(process, patience_s=1)
    yield batcher
    batcher.close()
    batcher._thread.join(10)


def test_close_lets_end_what_ends_in_time(closing: MicroBatcher) -> None:
    ticket = begin(closing, {"steps": 10, "seconds": 0.05}, "a")
    closing.close(grace_s=60)
    assert ticket.result().results
    with pytest.raises(StepInterrupted):
        closing.submit("m", {}, 1, texts("c"))


def test_close_interrupts_at_once_what_the_model_has_not_begun(closing: MicroBatcher) -> None:
    running = begin(closing, {"steps": 20, "seconds": 0.05}, "a")
    waiting = closing.submit("m", {}, 1, texts("b"))
    thread = threading.Thread(target=closing.close, args=(60,))
    thread.start()
    assert isinstance(error(waiting), StepInterrupted)
    assert not running.future.done()
    assert running.result().results
    thread.join(10)


def test_close_does_not_wait_for_what_will_not_end_in_time(closing: MicroBatcher) -> None:
    ticket = begin(closing, {"steps": 1000, "seconds": 0.1}, "a")  # 100 s
    thread = threading.Thread(target=closing.close, args=(60,))
    thread.start()
    assert isinstance(ticket.future.exception(30), StepInterrupted)
    thread.join(10)
    assert not thread.is_alive()


def test_close_gives_the_whole_grace_to_what_tells_no_progress(closing: MicroBatcher) -> None:
    ticket = closing.submit("m", {}, 1, texts("a", do="hang"))
    while not ticket.begun_at:
        time.sleep(0.005)
    started = time.monotonic()
    closing.close(grace_s=0.8)
    assert time.monotonic() - started >= 0.8
    assert isinstance(error(ticket), StepInterrupted)


def test_a_second_close_cuts_the_first_short(closing: MicroBatcher) -> None:
    ticket = closing.submit("m", {}, 1, texts("a", do="hang"))
    while not ticket.begun_at:
        time.sleep(0.005)
    first = threading.Thread(target=closing.close, args=(600,))
    first.start()
    closing.close(0)
    first.join(30)
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
        thread.join(30)
    assert not wrong
