"""What a running batch tells the worker, and how often."""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from workers import model_main
from workers.model_events import FromModel, Preview, Progress, Saved
from workers.model_main import PREVIEW_S, PROGRESS_S, BatchMonitor


class Process:
    """The model process as its monitor sees it."""

    def __init__(self) -> None:
        self.canceled: set[int] = set()
        self.sent: list[FromModel] = []

    def send(self, event: FromModel) -> None:
        self.sent.append(event)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(model_main.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def monitor(process: Process, clock: SimpleNamespace) -> BatchMonitor:
    return BatchMonitor(process, 7, savepoint_s=60)  # type: ignore[arg-type]


def test_progress_is_told_now_and_then_and_at_the_end(
    monitor: BatchMonitor, process: Process, clock: SimpleNamespace
) -> None:
    for done in range(1, 11):
        assert monitor.step(done, 10, f"step {done}", [{"loss": 1 / done}])
        clock.now += 0.4 * PROGRESS_S
    assert process.sent[0] == Progress(7, 1, 10, "step 1", [{"loss": 1.0}])
    assert process.sent[-1] == Progress(7, 10, 10, "step 10", [{"loss": 0.1}])
    assert [event.done for event in process.sent] == [1, 4, 7, 10]


def test_a_canceled_batch_stops_at_its_next_step(monitor: BatchMonitor, process: Process) -> None:
    assert monitor.step(1, 10)
    process.canceled.add(7)
    assert not monitor.step(2, 10)


def test_previews_keep_their_distance_and_are_jpeg(
    monitor: BatchMonitor, process: Process, clock: SimpleNamespace
) -> None:
    assert not monitor.preview_due()
    clock.now += PREVIEW_S
    assert monitor.preview_due()
    monitor.preview([Image.new("RGB", (9, 5), colour) for colour in ("red", "blue")])
    assert not monitor.preview_due()
    [event] = process.sent
    assert isinstance(event, Preview)
    pictures = [Image.open(io.BytesIO(data)) for data in event.pictures]
    assert [(picture.format, picture.size) for picture in pictures] == [("JPEG", (9, 5))] * 2
    assert pictures[0].getpixel((4, 2))[0] > 200 > 100 > pictures[1].getpixel((4, 2))[0]


def test_savepoints_keep_the_distance_of_the_setting(
    monitor: BatchMonitor, process: Process, clock: SimpleNamespace
) -> None:
    clock.now += 59
    assert not monitor.savepoint_due()
    clock.now += 1
    assert monitor.savepoint_due()
    monitor.save(1, [Path("part"), Path("head")])
    assert process.sent == [Saved(7, 1, [Path("part"), Path("head")])]
    assert not monitor.savepoint_due()
