"""A step of a chunk job: its items, each for itself; the model process is real."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from shared.contracts import CHUNK, ItemOutput, JobStatus, Priority, StepStatus
from shared.errors import StepInterrupted, StorageCorrupt
from shared.item_jobs import of_item
from shared.testing.object_store import MemoryObjectStore
from tests.waiting import PATIENCE_S, until
from tests.workers.step_world import World, planned, png
from workers.batcher import MicroBatcher

CAPTION = planned("caption", "captioner")
DIFFUSE = planned("diffuse", "diffuser")
TRANSLATE = planned("translate", "translator")


@pytest.fixture
def world(batcher: MicroBatcher) -> Iterator[World]:
    world = World(batcher)
    yield world
    world.close()


@pytest.fixture
def begun(world: World, batcher: MicroBatcher, tmp_path: Path) -> tuple[str, Thread]:
    """A chunk whose batches take half a minute, and the thread that runs it; the model is at the
    first of them."""
    params = {"steps": 600, "seconds": 0.05, "stopped": str(tmp_path / "at")}
    step = planned("translate", "translator", params)
    job_id = world.submit_chunk("translate", texts(*"abcdef"), step)
    thread = Thread(target=world.runner.run, args=(job_id, 0), daemon=True)
    thread.start()
    until(lambda: any(s.progress for ticket in list(batcher._tickets) for s in ticket.samples))
    return job_id, thread


def texts(*said: str) -> list[dict[str, Any]]:
    return [{"text": each} for each in said]


def made(world: World, job_id: str, step: int = 0) -> tuple[ItemOutput, ...]:
    output = world.ledger.get(job_id).steps[step].output
    assert output
    return output.items


def test_one_bad_item_costs_its_neighbours_nothing(world: World) -> None:
    good, bad = world.upload(png()), world.upload(png()[:40])
    inputs = [{"image": bad if number == 17 else good} for number in range(CHUNK)]
    job_id = world.submit_chunk("caption", inputs, CAPTION)
    assert world.runner.run(job_id, 0)
    items = made(world, job_id)
    assert [item.number for item in items] == list(range(CHUNK))
    captions = [item.outputs.get("caption") for item in items]
    assert captions == [None if number == 17 else "RGB 20x10" for number in range(CHUNK)]
    failure = items[17].error
    assert failure
    assert (failure.code, failure.step, items[17].attempts) == ("invalid_image", "caption", 1)
    job = world.ledger.get(job_id)
    assert (job.status, job.steps[0].attempts) == (JobStatus.SUCCEEDED, 1)
    assert job.steps[0].output.revision == "r1"  # type: ignore[union-attr]


def test_later_steps_run_the_items_that_are_left(world: World) -> None:
    good, bad = world.upload(png()), world.upload(b"no picture")
    inputs = [
        {"first": first, "second": good, "seed": seed}
        for seed, first in enumerate([good, bad, world.upload(png((40, 10)))])
    ]
    job_id = world.submit_chunk("blend", inputs, CAPTION, DIFFUSE)
    assert world.runner.run(job_id, 0)
    assert world.runner.run(job_id, 1)
    assert [item.number for item in made(world, job_id, 1)] == [0, 2]
    prompts = [item.outputs["prompt"] for item in made(world, job_id, 1)]
    assert prompts == ["RGB 20x10", "RGB 40x10"]
    failed = of_item(world.ledger.get(job_id), 1)
    assert (failed.status, failed.error and failed.error.step) == (JobStatus.FAILED, "caption")


def test_where_no_item_is_left_the_model_is_not_asked(world: World) -> None:
    bad = world.upload(b"no picture")
    deadly = planned("diffuse", "diffuser", {"seconds": "none"})  # it would raise
    inputs = [{"first": bad, "second": bad, "seed": seed} for seed in range(3)]
    job_id = world.submit_chunk("blend", inputs, CAPTION, deadly)
    assert world.runner.run(job_id, 0)
    assert world.runner.run(job_id, 1)
    assert [item.error.code for item in made(world, job_id) if item.error] == ["invalid_image"] * 3
    assert made(world, job_id, 1) == ()
    assert world.ledger.get(job_id).status is JobStatus.SUCCEEDED


def test_an_item_that_kills_its_model_process_is_alone_with_that(world: World) -> None:
    job_id = world.submit_chunk("translate", texts("a", "do: die", "b", "c"), TRANSLATE)
    assert world.runner.run(job_id, 0)
    items = made(world, job_id)
    assert [item.outputs.get("translation") for item in items] == ["a", None, "b", "c"]
    assert [item.error and item.error.code for item in items] == [None, "poison", None, None]
    assert [item.attempts for item in items] == [1, world.settings.max_attempts, 1, 1]


class Damaging(MemoryObjectStore):
    """A store that damages every object the first time that it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_before: set[str] = set()

    def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        if key not in self.read_before:
            self.read_before.add(key)
            raise StorageCorrupt(key)
        return super().get(key, sha256=sha256, size=size)


def test_an_item_is_tried_again_where_that_may_help(world: World) -> None:
    world.runner._bench.store = world.store = Damaging()
    inputs = [{"image": world.upload(png())} for _ in range(3)]
    job_id = world.submit_chunk("caption", inputs, CAPTION)
    assert world.runner.run(job_id, 0)
    items = made(world, job_id)
    assert [(item.error, item.attempts) for item in items] == [(None, 2)] * 3
    assert world.ledger.get(job_id).steps[0].attempts == 1


def test_an_items_pictures_are_those_of_a_job_of_its_own(world: World) -> None:
    inputs = [{"prompt": f"cat {number}", "n": 2, "seed": number} for number in range(5)]
    job_id = world.submit_chunk("generate", inputs, DIFFUSE)
    world.runner.run(job_id, 0)
    for number, given in enumerate(inputs):
        lone_id = world.submit("generate", "diffuser", priority=Priority.BULK, **given)
        world.runner.run(lone_id, 0)
        lone, item = world.ledger.get(lone_id), of_item(world.ledger.get(job_id), number)
        assert item.outputs == lone.outputs
        assert [each.sha256 for each in item.artifacts] == [each.sha256 for each in lone.artifacts]
        for artifact in item.artifacts:
            assert artifact.key == f"jobs/{job_id}/0-diffuse/a1/{number}/{artifact.name}"
            assert world.store.get(artifact.key, sha256=artifact.sha256, size=artifact.bytes)
            assert world.store.metadata[artifact.key]["job-id"] == item.id


def test_results_are_kept_until_storage_takes_them(world: World) -> None:
    inputs = [{"prompt": "a cat", "seed": seed} for seed in range(8)]
    job_id = world.submit_chunk("generate", inputs, DIFFUSE)
    thread = world.start_without_storage(job_id)
    world.store.down = False
    thread.join(PATIENCE_S)
    job = world.ledger.get(job_id)
    assert (job.status, job.fence, len(job.artifacts)) == (JobStatus.SUCCEEDED, 1, 8)
    assert {item.attempts for item in made(world, job_id)} == {1}


def test_an_interactive_job_overtakes_between_batches(world: World, tmp_path: Path) -> None:
    params = {"steps": 10, "seconds": 0.05, "stopped": str(tmp_path / "at")}
    step = planned("translate", "translator", params)
    job_id = world.submit_chunk("translate", texts(*"a chunk of thirty-two short texts"), step)
    thread = world.start(job_id)
    assert world.runner.run(world.submit(text="hello"), 0)
    job = world.ledger.get(job_id)
    assert job.status is JobStatus.RUNNING
    assert 0 < job.progress < 1
    assert job.progress_message.endswith(f" of {len(job.items)} items")
    world.ledger.cancel(job_id)
    thread.join(PATIENCE_S)


def test_a_cancel_stops_the_model(world: World, begun: tuple[str, Thread], tmp_path: Path) -> None:
    job_id, thread = begun
    world.ledger.cancel(job_id)
    thread.join(PATIENCE_S)
    assert world.ledger.get(job_id).status is JobStatus.CANCELED
    until((tmp_path / "at").exists)
    assert int((tmp_path / "at").read_text()) < 600


def test_a_lost_lease_ends_all_items(world: World, begun: tuple[str, Thread]) -> None:
    job_id, thread = begun
    with world.ledger._lock:  # the keeper renews: let no renewal come in between
        world.ledger.advance(2000)
        world.ledger.reap([])
        world.ledger.admit(TRANSLATE.queue(Priority.BULK))
        taken = world.ledger.claim(job_id, 0, "other", "t2")
    assert (taken.state, taken.fence) == ("ok", 2)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert world.ledger.get(job_id).fence == 2
    assert world.ledger.counters().get("commits", 0) == 0


def test_whoever_comes_next_goes_on_with_the_items_that_are_left(
    batcher: MicroBatcher, tmp_path: Path
) -> None:
    world = World(batcher, savepoint_s=0.1)
    params = {"steps": 5, "seconds": 0.05, "stopped": str(tmp_path / "at")}
    inputs = [{"prompt": "a cat", "seed": seed} for seed in range(20)]
    step = planned("diffuse", "diffuser", params)
    job_id = world.submit_chunk("generate", inputs, step)
    thread = world.start(job_id)
    until(lambda: list(world.store.list(f"jobs/{job_id}/0-diffuse/savepoint/")))
    world.ledger.release(job_id, 0, 1)  # as the reaper does with the lease of a dead worker
    thread.join(PATIENCE_S)
    assert world.ledger.counters().get("commits", 0) == 0
    world.ledger.admit(step.queue(Priority.BULK))
    assert world.runner.run(job_id, 0)
    job = world.ledger.get(job_id)
    assert [item.number for item in made(world, job_id)] == list(range(20))
    assert {artifact.key.split("/")[3] for artifact in job.artifacts} == {"a1", "a2"}
    for artifact in job.artifacts:
        assert world.store.get(artifact.key, sha256=artifact.sha256, size=artifact.bytes)
    world.close()


def test_a_worker_that_closes_gives_the_chunk_back(
    world: World, batcher: MicroBatcher, begun: tuple[str, Thread]
) -> None:
    job_id, thread = begun
    batcher.close(0)
    thread.join(PATIENCE_S)
    assert world.ledger.get(job_id).steps[0].status is StepStatus.QUEUED
    assert world.ledger.counters()["released"] == 1


def test_a_worker_with_enough_items_leaves_a_chunk_to_others(world: World) -> None:
    job_id = world.submit_chunk("translate", texts("a"), TRANSLATE)
    with world.items.place(CHUNK):
        with pytest.raises(StepInterrupted):
            world.runner.run(job_id, 0)
        assert world.runner.run(world.submit(), 0)
    assert world.runner.run(job_id, 0)
