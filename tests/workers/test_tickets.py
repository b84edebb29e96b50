"""What a ticket tells while the model runs its samples, and what they go on from."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.errors import ModelProcessDied, StepInterrupted
from tests.waiting import PATIENCE_S, until
from tests.workers.resumable_family import undisturbed
from workers.batcher import MicroBatcher
from workers.model_process import ModelProcess
from workers.savepoints import Savepoint, Savepoints
from workers.tickets import Ticket

Submit = Callable[..., Ticket]


@pytest.fixture
def batcher(saving: ModelProcess) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(saving, patience_s=0.2)
    yield batcher
    batcher.close()
    batcher._thread.join(PATIENCE_S)


@pytest.fixture
def savepoints() -> Iterator[Savepoints]:
    savepoints = Savepoints()
    yield savepoints
    savepoints.close()


@pytest.fixture
def began(tmp_path: Path) -> Path:
    """Where each run leaves the step at which it begins."""
    return tmp_path / "began"


@pytest.fixture
def go_on(tmp_path: Path) -> Path:
    """What a run waits for that is held."""
    return tmp_path / "go_on"


@pytest.fixture
def submit(batcher: MicroBatcher, began: Path, go_on: Path) -> Submit:
    files = {"began": str(began), "go_on": str(go_on)}

    def submit(*names: str, size: int = 1, savepoints: Any = None, **params: Any) -> Ticket:
        params = {"steps": 60, "seconds": 0.01, **files, **params}
        samples = [{"text": name} for name in names]
        return batcher.submit("m", params, size, samples, savepoints=savepoints)

    return submit


def beginnings(began: Path) -> list[int]:
    return [int(line) for line in began.read_text().split()]


def text(ticket: Ticket) -> str:
    return ticket.result().results[0]["text"]


def test_each_ticket_has_the_numbers_and_the_preview_of_its_own_sample(
    submit: Submit, batcher: MicroBatcher
) -> None:
    with batcher._changed:  # until both are there
        tickets = [submit(name, size=2) for name in "ab"]
    for place, ticket in enumerate(tickets):
        until(lambda ticket=ticket: ticket.preview)
        blue = Image.open(io.BytesIO(ticket.preview)).getpixel((0, 0))[2]
        assert blue == pytest.approx(40 * place, abs=5)
        assert ticket.metrics["place"] == place
        assert 0 < ticket.metrics["hashes"] <= 60


def test_a_sample_goes_on_from_its_savepoint_when_the_model_process_dies(
    submit: Submit, saving: ModelProcess, savepoints: Savepoints, began: Path, go_on: Path
) -> None:
    ticket = submit("a", savepoints=savepoints, steps=100, held_after=50)
    until(lambda: savepoints.newest and savepoints.newest.progress > 0.2)
    saving.kill()
    go_on.touch()
    assert text(ticket) == undisturbed("a", 100)
    first, second = beginnings(began)
    assert first == 0
    assert second >= 20


def test_a_second_death_is_told_and_the_savepoint_is_left(
    submit: Submit, saving: ModelProcess, savepoints: Savepoints, began: Path, go_on: Path
) -> None:
    ticket = submit("a", savepoints=savepoints, steps=100, held_after=45)
    until(lambda: savepoints.newest)
    saving.kill()
    until(lambda: len(beginnings(began)) == 2 and ticket.metrics.get("hashes", 0) > 40)
    saving.kill()
    assert isinstance(ticket.future.exception(PATIENCE_S), ModelProcessDied)
    left = savepoints.newest
    go_on.touch()
    again = submit("a", savepoints=savepoints, steps=100)
    assert left
    assert again.progress == left.progress > 0
    assert text(again) == undisturbed("a", 100)
    assert beginnings(began)[2] >= round(100 * left.progress)


def test_each_sample_of_a_batch_goes_on_from_its_own(
    submit: Submit, batcher: MicroBatcher, saving: ModelProcess, go_on: Path
) -> None:
    kept = [Savepoints(), Savepoints()]
    with batcher._changed:  # until both are there
        tickets = [
            submit(name, size=2, savepoints=savepoints, held_after=50)
            for name, savepoints in zip("ab", kept, strict=True)
        ]
    until(lambda: all(savepoints.newest for savepoints in kept))
    saving.kill()
    go_on.touch()
    assert [text(ticket) for ticket in tickets] == [undisturbed(name, 60) for name in "ab"]
    for savepoints in kept:
        savepoints.close()


def test_in_a_smaller_batch_class_nothing_is_gone_on_from(
    submit: Submit, savepoints: Savepoints, began: Path
) -> None:
    """Unless it was saved in that one: the two may differ in their last bits."""
    ticket = submit("a", size=2, savepoints=savepoints, most=1)
    assert text(ticket) == undisturbed("a", 60)
    assert beginnings(began) == [0, 0]
    newest = savepoints.newest
    assert newest
    assert (ticket.result().batch_class, newest.batch_class) == (1, 1)
    again = submit("a", size=2, savepoints=savepoints, most=1)
    assert again.result().batch_class == 1
    assert beginnings(began)[2] > 0


def test_of_several_samples_none_is_kept(submit: Submit, savepoints: Savepoints) -> None:
    results = submit("a", "b", size=2, savepoints=savepoints).result().results
    assert [each["text"] for each in results] == [undisturbed(name, 60) for name in "ab"]
    assert savepoints.newest is None


def test_what_goes_on_is_judged_by_what_it_does_now(
    submit: Submit, batcher: MicroBatcher, savepoints: Savepoints
) -> None:
    """Most is done, and the rest would take far longer than the grace."""
    submit("a", savepoints=savepoints, steps=90).result()
    saved = savepoints.newest
    assert saved
    done = sum(len(part.read_text().split()) for part in saved.folder.glob("part-*"))
    savepoints.newest = Savepoint(saved.folder, done / (done + 20), 1)
    ticket = submit("a", savepoints=savepoints, steps=done + 20, seconds=10)
    until(lambda: ticket.progress > ticket.begun_from)
    closing = threading.Thread(target=batcher.close, args=(40,))
    closing.start()
    assert isinstance(ticket.future.exception(PATIENCE_S), StepInterrupted)
    closing.join(PATIENCE_S)
