"""Steps that leave previews and savepoints, and what comes of them when something is killed."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from shared.contracts import JobRecord, JobStatus
from shared.layout import preview_key
from shared.stages import TranslateTextStage
from tests.waiting import PATIENCE_S, until
from tests.workers.resumable_family import undisturbed
from tests.workers.step_world import World
from workers import step_task
from workers.batcher import MicroBatcher
from workers.model_process import ModelProcess

STEPS = 120
RESULT = {"translation": undisturbed("hello", STEPS)}
QUEUE = "1-interactive.translator.m"


@pytest.fixture
def batcher(saving: ModelProcess) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(saving)
    yield batcher
    batcher.close()
    batcher._thread.join(PATIENCE_S)


@pytest.fixture
def world(batcher: MicroBatcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A worker whose `translate` goes on from savepoints, and looks for them often."""
    monkeypatch.setattr(TranslateTextStage, "resumes", True)
    monkeypatch.setattr(step_task, "PROGRESS_PERIOD_S", 0.05)
    world = World(batcher)
    yield world
    world.close()


@pytest.fixture
def began(tmp_path: Path) -> Path:
    """Where each run leaves the step at which it begins."""
    return tmp_path / "began"


@pytest.fixture
def go_on(tmp_path: Path) -> Path:
    """What a run waits for."""
    return tmp_path / "go_on"


@pytest.fixture
def job_id(world: World, began: Path, go_on: Path, request: pytest.FixtureRequest) -> str:
    """A job whose runs wait after so many steps, of a hundredth of a second each."""
    params = {"steps": STEPS, "seconds": 0.01, "began": str(began)}
    held_after = getattr(request, "param", 100)
    return world.submit(params={**params, "held_after": held_after, "go_on": str(go_on)})


def beginnings(began: Path) -> list[int]:
    return [int(line) for line in began.read_text().split()]


def keys(world: World, part: str = "") -> list[str]:
    return [key for _, key in list(world.store.objects) if part in key]


def await_savepoint(world: World, beyond: int = 0) -> None:
    """Until a savepoint of a later step than this is stored, whole."""

    def saved() -> list[float]:
        manifests = (world.store.get(key) for key in keys(world, "/savepoint/") if ".json" in key)
        return [STEPS * json.loads(manifest)["progress"] for manifest in manifests]

    until(lambda: max(saved(), default=0) > beyond)


def lose_lease(world: World, job_id: str) -> None:
    """The worker has not renewed for too long: its step goes back to its queue."""
    with world.ledger._lock:
        world.ledger.advance(2000)
        world.ledger.reap([])
        assert world.ledger.admit(QUEUE)


def check_ended(world: World, job_id: str, began: Path) -> JobRecord:
    """With the result of an undisturbed run, and with nothing left of the way to it."""
    job = world.ledger.get(job_id)
    assert (job.status, job.outputs) == (JobStatus.SUCCEEDED, RESULT)
    assert keys(world) == [f"jobs/{job_id}/manifest.json"]
    first, *later = beginnings(began)
    assert first == 0
    assert all(0 < step < STEPS for step in later)
    return job


def test_a_running_step_shows_a_preview_and_its_numbers(
    world: World, job_id: str, go_on: Path
) -> None:
    thread = world.start(job_id)
    until(lambda: keys(world, "preview"))
    job = world.ledger.get(job_id)
    with Image.open(io.BytesIO(world.store.get(preview_key(job)))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (8, 8))
    until(lambda: world.ledger.get(job_id).metrics)
    job = world.ledger.get(job_id)
    assert job.progress == pytest.approx(job.metrics["hashes"] / STEPS, abs=1e-4)
    go_on.touch()
    thread.join(PATIENCE_S)
    assert keys(world) == [f"jobs/{job_id}/manifest.json"]


def test_the_step_of_a_lost_worker_is_gone_on_with(
    world: World, batcher: MicroBatcher, job_id: str, began: Path, go_on: Path
) -> None:
    """Though that one has not heard yet that it lost the step, and still writes."""
    thread = world.start(job_id)
    await_savepoint(world)
    lose_lease(world, job_id)
    go_on.touch()
    other = World(batcher, beside=world)
    other.runner.run(job_id, 0)
    thread.join(PATIENCE_S)
    assert check_ended(world, job_id, began).fence == 2
    assert len(beginnings(began)) == 2
    other.close()


def test_a_step_that_was_handed_back_is_gone_on_with(
    world: World,
    batcher: MicroBatcher,
    saving: ModelProcess,
    job_id: str,
    began: Path,
    go_on: Path,
) -> None:
    thread = world.start(job_id)
    await_savepoint(world)
    batcher.close(0)
    go_on.touch()
    thread.join(PATIENCE_S)
    batcher._thread.join(PATIENCE_S)
    assert keys(world, "/savepoint/")
    world.ledger.admit(QUEUE)
    fresh = MicroBatcher(saving)
    other = World(fresh, beside=world)
    other.runner.run(job_id, 0)
    assert check_ended(world, job_id, began).steps[0].attempts == 1
    assert len(beginnings(began)) == 2
    other.close()
    fresh.close()


@pytest.mark.parametrize("job_id", [20], indirect=True)
def test_a_model_process_that_dies_often_ends_a_job_that_gets_further(
    world: World, saving: ModelProcess, job_id: str, began: Path, go_on: Path
) -> None:
    """More often than a step has attempts. The worker itself forgives the first death."""
    runs = 0
    for deaths in (2, 1, 1):
        thread = world.start(job_id)
        for _ in range(deaths):
            runs += 1
            until(lambda: len(beginnings(began)) == runs)  # noqa: B023
            await_savepoint(world, beyond=beginnings(began)[-1])
            until(lambda: world.ledger._state.jobs[job_id].attempt == 1)
            saving.kill()
        thread.join(PATIENCE_S)
        world.ledger.advance(60_000)
        world.ledger.reap([])
    go_on.touch()
    world.runner.run(job_id, 0)
    check_ended(world, job_id, began)
    assert beginnings(began) == sorted(beginnings(began))
    assert len(beginnings(began)) == 5


def test_while_storage_is_away_the_step_goes_on_without_savepoints(
    world: World, batcher: MicroBatcher, job_id: str, began: Path, go_on: Path
) -> None:
    thread = world.start(job_id)
    await_savepoint(world)
    before = set(keys(world))
    world.store.down = True
    until(lambda: world.ledger.get(job_id).progress > 0.6)  # past its preview, too
    assert set(keys(world)) == before
    world.store.down = False
    await_savepoint(world, beyond=round(0.6 * STEPS))
    lose_lease(world, job_id)
    go_on.touch()
    other = World(batcher, beside=world)
    other.runner.run(job_id, 0)
    thread.join(PATIENCE_S)
    check_ended(world, job_id, began)
    assert beginnings(began)[1] > 0.6 * STEPS
    other.close()


def test_without_a_whole_savepoint_the_step_begins_anew(
    world: World, batcher: MicroBatcher, job_id: str, began: Path, go_on: Path
) -> None:
    thread = world.start(job_id)
    await_savepoint(world)
    batcher.close(0)
    go_on.touch()
    thread.join(PATIENCE_S)
    batcher._thread.join(PATIENCE_S)
    for key in keys(world, "head-"):
        world.store.put(key, b"damaged", "application/octet-stream")
    world.ledger.admit(QUEUE)
    fresh = MicroBatcher(batcher._process)
    other = World(fresh, beside=world)
    other.runner.run(job_id, 0)
    assert world.ledger.get(job_id).outputs == RESULT
    assert beginnings(began) == [0, 0]
    other.close()
    fresh.close()


def cancel(world: World, job_id: str) -> None:
    world.ledger.cancel(job_id)


def pass_deadline(world: World, job_id: str) -> None:
    world.ledger.advance(4_000_000)


@pytest.mark.parametrize(
    ("end", "status"), [(cancel, JobStatus.CANCELED), (pass_deadline, JobStatus.FAILED)]
)
def test_of_a_step_that_ends_otherwise_nothing_is_left_either(
    world: World, job_id: str, end: Callable[[World, str], None], status: JobStatus
) -> None:
    thread = world.start(job_id)
    await_savepoint(world)
    end(world, job_id)
    thread.join(PATIENCE_S)
    assert world.ledger.get(job_id).status is status
    assert keys(world) == [f"jobs/{job_id}/manifest.json"]


def test_what_cannot_be_erased_costs_the_job_nothing(
    world: World, job_id: str, go_on: Path
) -> None:
    thread = world.start(job_id)
    await_savepoint(world)
    until(lambda: world.ledger.get(job_id).progress > 0.6)
    world.store.down = True
    go_on.touch()
    thread.join(PATIENCE_S)
    assert world.ledger.get(job_id).outputs == RESULT


def test_a_step_of_another_kind_keeps_no_savepoints(
    world: World, job_id: str, go_on: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on.touch()
    monkeypatch.setattr(TranslateTextStage, "resumes", False)
    threading.Thread(target=world.runner.run, args=(job_id, 0)).start()
    until(lambda: world.ledger.get(job_id).status is JobStatus.SUCCEEDED)
    assert keys(world, "/savepoint/") == []
