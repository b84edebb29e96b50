"""What the model of a step is given: pictures; as files a data set, trained weights, a folder."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shared.contracts import (
    DatasetInput,
    ImageInput,
    OutputFolder,
    Sample,
    Step,
    TrainedOutput,
    WeightsInput,
)
from shared.errors import InvalidArchive, InvalidRequest, NotFound, TooLarge
from shared.trained_models import TrainedModels
from tests.workers.step_world import World, png
from workers.batcher import MicroBatcher
from workers.step_inputs import StepInputs

STEP = Step(name="train", family="panorama_trainer", model="m")


@pytest.fixture
def world(batcher: MicroBatcher, tmp_path: Path) -> Iterator[World]:
    # Ten bytes, and a megabyte.
    world = World(batcher, models_dir=tmp_path, dataset_gb=10e-9, max_upload_mb=1)
    yield world
    world.close()


@pytest.fixture
def inputs(world: World) -> Iterator[StepInputs]:
    with closing(
        StepInputs(world.settings, world.ledger, world.store, lambda call: call())
    ) as inputs:
        yield inputs


def fetched(inputs: StepInputs, item: Any, step: Step = STEP) -> Any:
    [sample] = inputs.fetch(step, [Sample({"item": item})])
    return sample["item"]


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def tar(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def zipped(data: bytes) -> tuple[bytes, int, int]:
    """A zip of two equal files; where the second one's local header is, and its packed size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, data)
        entry = archive.getinfo("b.png")
    return buffer.getvalue(), entry.header_offset, entry.compress_size


def test_a_picture_that_is_an_object_of_a_users_bucket(world: World, inputs: StepInputs) -> None:
    world.store.objects["photos", "in/a.png"] = png((30, 7))
    world.store.objects["photos", "large.png"] = bytes(2**20 + 1)
    assert fetched(inputs, ImageInput("s3://photos/in/a.png")).size == (30, 7)
    with pytest.raises(TooLarge):
        fetched(inputs, ImageInput("s3://photos/large.png"))
    with pytest.raises(NotFound):
        fetched(inputs, ImageInput("s3://photos/gone.png"))


def test_a_picture_within_a_tar(world: World, inputs: StepInputs) -> None:
    data, first, second = tar(a=png(), b=png((30, 7))), len(png()), len(png((30, 7)))
    offset = 512 + -(-first // 512) * 512 + 512
    reference = f"{world.upload(data)}#{offset}+{second}"
    assert fetched(inputs, ImageInput(reference)).size == (30, 7)
    world.store.objects["photos", "cut.tar"] = data[: offset + 10]
    with pytest.raises(InvalidArchive, match="ends within"):
        fetched(inputs, ImageInput(f"s3://photos/cut.tar#{offset}+{second}"))


def test_a_picture_within_a_zip(world: World, inputs: StepInputs) -> None:
    picture = png((30, 7))
    data, offset, size = zipped(picture)
    world.store.objects["photos", "a.zip"] = data
    reference = f"s3://photos/a.zip#{offset}+{size}+zip+"
    assert fetched(inputs, ImageInput(f"{reference}{len(picture)}")).size == (30, 7)
    with pytest.raises(InvalidArchive):
        fetched(inputs, ImageInput(f"{reference}{len(picture) - 1}"))


def test_a_member_that_unpacks_to_too_much_is_not_unpacked(
    world: World, inputs: StepInputs
) -> None:
    data, offset, size = zipped(bytes(2**20 + 1))
    file_id = world.upload(data)
    for stated, error in ((2**20 + 1, TooLarge), (2**20, InvalidArchive)):
        with pytest.raises(error):
            fetched(inputs, ImageInput(f"{file_id}#{offset}+{size}+zip+{stated}"))


def test_an_archive_becomes_numbered_files(world: World, inputs: StepInputs) -> None:
    folder = fetched(inputs, DatasetInput(world.upload(tar(z=b"first", a=b"second"))))
    assert contents(folder) == [b"first", b"second"]
    assert [path.name for path in sorted(folder.iterdir())] == ["000000", "000001"]


def test_what_was_refused_at_the_upload_is_refused_here_too(
    world: World, inputs: StepInputs
) -> None:
    with pytest.raises(InvalidArchive, match="leads out of the archive"):
        fetched(inputs, DatasetInput(world.upload(tar(**{"../a": b""}))))


def test_what_lies_below_a_prefix_is_fetched_in_order(world: World, inputs: StepInputs) -> None:
    for name in ("b", "deep/c", "a"):
        world.store.objects["photos", f"in/{name}"] = name[-1].encode()
    world.store.objects["photos", "other/d"] = b"d"
    folder = fetched(inputs, DatasetInput("s3://photos/in/"))
    assert contents(folder) == [b"a", b"b", b"c"]


def test_a_prefix_of_too_many_bytes(world: World, inputs: StepInputs) -> None:
    world.store.objects["photos", "in/a"] = b"eleven bytes"
    with pytest.raises(InvalidRequest, match="IMAGEMILL_DATASET_GB"):
        fetched(inputs, DatasetInput("s3://photos/in/"))


def test_trained_weights_are_fetched_once_for_all_steps(world: World, inputs: StepInputs) -> None:
    models = TrainedModels(world.store)
    trained = TrainedOutput("panorama", "alps", (), {})
    files = {name: models.put_file(trained, name, name.encode()) for name in ("a.json", "b")}
    chosen = {"model": "alps", "files": {name: file.model_dump() for name, file in files.items()}}
    step = STEP.model_copy(update={"params": {"weights": chosen}})
    [sample] = inputs.fetch(step, [Sample({"seed": 1})])
    assert contents(sample["weights"]) == [b"a.json", b"b"]
    models.register(trained, "job_1", files)
    models.delete("panorama", "alps")
    assert fetched(inputs, WeightsInput(files)) == sample["weights"]
    with pytest.raises(NotFound):
        fetched(inputs, WeightsInput({"b": files["b"]}))
    assert not list(world.settings.models_dir.rglob(".*"))


def test_folders_are_gone_in_the_end(world: World) -> None:
    with closing(
        StepInputs(world.settings, world.ledger, world.store, lambda call: call())
    ) as inputs:
        first, second = (fetched(inputs, OutputFolder()) for _ in range(2))
        assert first != second
        assert contents(first) == contents(second) == []
    assert not first.exists()
