"""The models in memory: which stay, which go, and what is told when one has no room."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelNotAvailable, OutOfMemory
from workers.held_models import GB, HeldModels, budget_bytes, device_memory, needed_bytes
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor


class Shelf(Predictor):
    """Keeps names only. `room` is what there really is for models of one GB each."""

    def __init__(self, room: float = 99) -> None:
        super().__init__("cpu")
        self.room = room
        self.models: list[str] = []
        self.loads: list[str] = []

    def load(self, checkpoint: Checkpoint) -> None:
        self.loads.append(checkpoint.model)
        if checkpoint.settings.get("broken"):
            raise ValueError("no such layer: left_knee")
        if len(self.models) + checkpoint.settings.get("takes", 1) > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        self.models.append(checkpoint.model)

    def unload(self, model: str) -> None:
        self.models.remove(model)

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        return []


def checkpoint(model: str, gb: float = 1, **settings: Any) -> Checkpoint:
    return Checkpoint(model, Path(model), "r", settings=settings, memory_gb=gb)


def held(shelf: Shelf, checkpoints: Sequence[Checkpoint], gb: float) -> HeldModels:
    return HeldModels(shelf, checkpoints, gb * GB)


def test_the_least_recently_used_makes_room() -> None:
    shelf, told = Shelf(), []
    checkpoints = [checkpoint(name) for name in "abc"]
    models = HeldModels(shelf, checkpoints, 2 * GB, told.append)
    for name in "abacab":
        models.hold(name)
        assert name in models
        assert len(shelf.models) <= 2
    assert shelf.loads == ["a", "b", "c", "b"]
    assert told == [("a",), ("a", "b"), ("a",), ("a", "c"), ("a",), ("a", "b")]


def test_a_large_one_takes_the_room_of_many() -> None:
    shelf = Shelf()
    models = held(shelf, [*(checkpoint(name) for name in "abc"), checkpoint("d", 2.5)], 3.5)
    for name in "abcd":
        models.hold(name)
    assert shelf.models == ["c", "d"]


def test_one_that_never_fits_is_refused_with_the_numbers_and_costs_nobody() -> None:
    shelf = Shelf()
    models = held(shelf, [checkpoint("a"), checkpoint("sdxl", 16)], 12)
    models.hold("a")
    with pytest.raises(OutOfMemory) as refused:
        models.hold("sdxl")
    assert refused.value.message == (
        "sdxl needs about 16.0 GB, the worker may use 12.0 GB (IMAGEMILL_MEMORY_GB)"
    )
    assert shelf.models == shelf.loads == ["a"]


def test_where_the_estimate_was_too_low_all_others_make_room() -> None:
    shelf = Shelf(room=3)
    models = held(shelf, [*(checkpoint(name) for name in "ab"), checkpoint("c", takes=3)], 99)
    for name in "abc":
        models.hold(name)
    assert shelf.models == ["c"]
    assert shelf.loads == ["a", "b", "c", "c"]


def test_a_device_that_is_too_small_is_told_with_the_numbers() -> None:
    shelf = Shelf(room=2)
    models = held(shelf, [checkpoint("a"), checkpoint("c", 1.5, takes=3)], 99)
    models.hold("a")
    numbers = r"^c needs about 1\.5 GB and could not be loaded: \d+\.\d GB of \d+\.\d GB are free$"
    with pytest.raises(OutOfMemory, match=numbers):
        models.hold("c")
    assert shelf.loads == ["a", "c", "c"]
    models.hold("a")
    assert shelf.models == ["a"]


def test_one_that_cannot_be_loaded_is_tried_once_and_leaves_the_others() -> None:
    shelf = Shelf()
    models = held(shelf, [checkpoint("a"), checkpoint("b", broken=True)], 99)
    models.hold("a")
    with pytest.raises(ValueError, match="left_knee"):
        models.hold("b")
    with pytest.raises(ModelNotAvailable, match="does not serve c"):
        models.hold("c")
    assert shelf.models == ["a"]
    assert shelf.loads == ["a", "b"]
    assert "b" not in models


def test_all_others_can_be_forgotten() -> None:
    shelf = Shelf()
    models = held(shelf, [checkpoint(name) for name in "abc"], 99)
    for name in "abc":
        models.hold(name)
    assert models.keep_only("b")
    assert shelf.models == ["b"]
    assert not models.keep_only("b")


def test_what_a_model_needs_is_read_off_its_files(tmp_path: Path) -> None:
    for name, size in {
        "first/unet/model.safetensors": 1000,
        "first/config.json": 70,
        "second/model.bin": 200,
        "second/pytorch_model.bin": 5000,
        "reader.onnx": 30,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    parts = (tmp_path / "second", tmp_path / "reader.onnx")
    cascade = Checkpoint("m", tmp_path / "first", "r", parts)
    assert needed_bytes(cascade) == pytest.approx(1.2 * (1000 + 200 + 30))
    assert needed_bytes(checkpoint("m", 2.5)) == 2.5 * GB
    assert needed_bytes(checkpoint("m", 0)) == 0


def test_the_budget_is_what_is_set_or_a_share_of_what_there_is() -> None:
    free, total = device_memory("cpu")
    assert 0 < free < total
    assert budget_bytes("cpu", 0) == total / 2
    assert budget_bytes("cuda:0", 12) == budget_bytes("cpu", 12) == 12 * GB
