"""The panorama family with a small network that has learnt nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.errors import InvalidImage, ModelNotAvailable
from shared.models import TRAINED
from tests.workers.families import Recorder, noise
from workers.families.panorama import Panorama
from workers.nets.panorama.checkpoint import load, save
from workers.nets.panorama.config import TINY
from workers.nets.panorama.generator import Generator
from workers.predictor import Batch, Checkpoint, Result

SIZE = TINY.size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("panorama") / "model"
    torch.manual_seed(0)
    save(Generator(TINY), folder)
    return folder


@pytest.fixture(scope="module")
def panorama(folder: Path) -> Panorama:
    panorama = Panorama("cpu")
    panorama.load(Checkpoint("m", folder, "r"))
    return panorama


def pair(seed: int, width: int = SIZE, height: int = SIZE) -> dict[str, Image.Image]:
    return {"left": noise(seed, width, height), "right": noise(seed + 100, width, height)}


def results(
    panorama: Panorama, *samples: dict[str, Any], size: int = 1, full_height: bool = False
) -> list[Result]:
    batch = Batch("m", {"full_height": full_height}, size, samples)
    return list(panorama.predict(batch, Recorder()))


def drawn(panorama: Panorama, *samples: dict[str, Any], **how: Any) -> list[Image.Image]:
    images = []
    for result in results(panorama, *samples, **how):
        assert isinstance(result, dict)
        images.append(result["image"])
    return images


def test_squares_are_blended_as_the_network_does(panorama: Panorama, folder: Path) -> None:
    sample = pair(1)
    left, right = (
        torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
        for picture in sample.values()
    )
    with torch.inference_mode():
        image = load(Generator, folder)(left, right).image[0].permute(1, 2, 0).numpy()
    [picture] = drawn(panorama, sample)
    assert picture.size == (3 * SIZE, SIZE)
    assert np.asarray(picture) == pytest.approx(image * 255, abs=0.51)


def test_of_larger_pictures_it_blends_what_is_next_to_the_middle(panorama: Panorama) -> None:
    wide, square = pair(2, 2 * SIZE), pair(2, 2 * SIZE)
    square["left"] = wide["left"].crop((SIZE, 0, 2 * SIZE, SIZE))
    square["right"] = wide["right"].crop((0, 0, SIZE, SIZE))
    assert drawn(panorama, wide) == drawn(panorama, square)


def test_at_full_height_the_sides_are_the_users_own(panorama: Panorama) -> None:
    sample = {"left": noise(3, 200, 96), "right": noise(4, 70, 96)}
    [picture] = drawn(panorama, sample, full_height=True)
    assert picture.size == (200 + 96 + 70, 96)
    assert picture.crop((0, 0, 200, 96)) == sample["left"]
    assert picture.crop((296, 0, 366, 96)) == sample["right"]
    assert np.asarray(picture.crop((200, 0, 296, 96))).std() > 1


def test_a_panorama_does_not_depend_on_company_and_place(panorama: Panorama) -> None:
    for full_height in (False, True):
        alone = [
            drawn(panorama, pair(seed), size=4, full_height=full_height)[0] for seed in (1, 2, 3)
        ]
        assert len({picture.tobytes() for picture in alone}) == 3
        together = drawn(panorama, pair(3), pair(1), pair(2), size=4, full_height=full_height)
        assert together == [alone[2], alone[0], alone[1]]


def test_the_order_of_the_pictures_matters(panorama: Panorama) -> None:
    swapped = {"left": pair(1)["right"], "right": pair(1)["left"]}
    assert drawn(panorama, pair(1)) != drawn(panorama, swapped)


def test_a_picture_that_is_too_small_spoils_its_own_sample_alone(panorama: Panorama) -> None:
    low = {**pair(2), "right": noise(5, 200, 63)}
    narrow = {**pair(2), "left": noise(5, 63, 200)}
    first, one, other, last = results(panorama, pair(1), low, narrow, pair(3), size=4)
    assert [first, last] == [
        {"image": picture} for picture in drawn(panorama, pair(1), pair(3), size=4)
    ]
    for refusal, told in ((one, "right: 200×63"), (other, "left: 63×200")):
        assert isinstance(refusal, InvalidImage)
        assert f"{told} pixels; the model takes none smaller than 64×64" in refusal.message
    [alone] = results(panorama, low)
    assert isinstance(alone, InvalidImage)


def test_a_result_of_too_many_pixels_is_refused_before_it_is_drawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEMILL_MAX_PIXELS", str((200 + 96 + 104) * 96))
    panorama = Panorama("cpu")
    panorama.load(Checkpoint("m", folder, "r"))
    fits = {"left": noise(3, 200, 96), "right": noise(4, 104, 96)}
    large = {**fits, "right": noise(4, 105, 96)}
    refusal, result = results(panorama, large, fits, full_height=True)
    assert isinstance(refusal, InvalidImage)
    assert "full_height: the result would have 401×96 pixels" in refusal.message
    assert isinstance(result, dict)
    assert result["image"].size == (400, 96)
    assert drawn(panorama, large)[0].size == (3 * SIZE, SIZE)


def test_every_panorama_is_reported_and_a_cancel_stops(panorama: Panorama) -> None:
    batch = Batch("m", {"full_height": False}, 4, [pair(1), pair(2), pair(3)])
    recorder, stopped = Recorder(), Recorder(most=2)
    assert len(panorama.predict(batch, recorder)) == 3
    assert recorder.steps[-1] == (3, 3, "panorama 3 of 3")
    assert panorama.predict(batch, stopped) == []
    assert len(stopped.steps) == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near(panorama: Panorama, folder: Path, dtype: str) -> None:
    half = Panorama("cpu")
    half.load(Checkpoint("m", folder, "r", settings={"dtype": dtype}))
    [picture], [exact] = drawn(half, pair(1)), drawn(panorama, pair(1))
    difference = np.abs(np.asarray(picture, float) - np.asarray(exact, float))
    assert 0 < difference.mean() < 1


def test_what_cannot_be_loaded_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotAvailable, match="dtype float8 is none of"):
        Panorama("cpu").load(Checkpoint("m", folder, "r", settings={"dtype": "float8"}))
    with pytest.raises(ModelNotAvailable, match=r"model\.safetensors"):
        Panorama("cpu").load(Checkpoint("m", tmp_path, "r"))


def test_a_model_is_forgotten(folder: Path) -> None:
    panorama = Panorama("cpu")
    panorama.load(Checkpoint("m", folder, "r"))
    panorama.unload("m")
    with pytest.raises(KeyError):
        drawn(panorama, pair(1))


def test_a_trained_model_comes_with_the_batch(folder: Path, tmp_path: Path) -> None:
    """And stays in memory until another one comes."""
    torch.manual_seed(1)
    save(Generator(TINY), tmp_path / "other")
    panorama = Panorama("cpu")
    panorama.load(Checkpoint(TRAINED, Path("none"), ""))

    def draw(weights: Path) -> list[Result]:
        samples = [{**pair(1), "weights": weights}]
        return list(
            panorama.predict(Batch(TRAINED, {"full_height": False}, 1, samples), Recorder())
        )

    own = Panorama("cpu")
    own.load(Checkpoint("m", folder, "r"))
    first, other = draw(folder), draw(tmp_path / "other")
    assert first == results(own, pair(1))
    assert first != other
    (tmp_path / "other" / "model.safetensors").unlink()
    assert draw(tmp_path / "other") == other
    with pytest.raises(ModelNotAvailable):
        draw(tmp_path)
    assert draw(folder) == first
