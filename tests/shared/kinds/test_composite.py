"""`composite`: where the object lands, and what its step takes and makes."""

from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from shared.contracts import FileOutput, ImageInput, ImageOutput, Priority, Produced
from shared.errors import InvalidRequest
from shared.kinds.composite import CompositeInput, CompositeStage
from shared.models import Model, ModelChoice, Registry

MODELS = {("compositor", "any"): Model(name="any", family="compositor")}
CHOICE = ModelChoice(
    Registry(MODELS, {"only": {"compositor": "any"}}), "only", {}, Priority.INTERACTIVE
)


def stage(**fields: Any) -> CompositeStage:
    files = {"source": "file_s", "mask": "file_m", "target": "file_t"}
    return CompositeStage(CompositeInput(**{**files, **fields}))


def data(**fields: Any) -> dict[str, Any]:
    [sample] = stage(**fields).samples(stage(**fields).plan(CHOICE), {})
    return sample.data


def test_the_defaults_are_the_papers() -> None:
    assert stage().plan(CHOICE).params == {
        "variant": "mended",
        "source_size": 300,
        "target_size": 512,
        "steps": 1000,
        "video": False,
        "precision": "fp32",
    }
    assert (stage().request.x, stage().request.y) == (200, 235)


@pytest.mark.parametrize("variant", ["poisson", "alpha"])
def test_a_classic_variant_takes_no_network_parameters(variant: str) -> None:
    params = stage(variant=variant, steps=7, video=True).plan(CHOICE).params
    assert params == {"variant": variant, "source_size": 300, "target_size": 512}


@pytest.mark.parametrize(
    ("size", "first", "last"), [(240, 120, 392), (33, 17, 496), (512, 256, 256), (8, 4, 508)]
)
def test_the_square_lies_inside_the_target(size: int, first: int, last: int) -> None:
    for at in (first, last):
        top = at - -(-size // 2) if size % 2 else at - size // 2
        assert top >= 0
        assert top + size <= 512
        assert stage(source_size=size, x=at, y=first).source_size() == size
    for at in (first - 1, last + 1):
        with pytest.raises(InvalidRequest, match=f"permitted is {first} to {last}") as caught:
            stage(source_size=size, x=at, y=first).plan(CHOICE)
        assert [error["pointer"] for error in caught.value.errors] == ["/input/x"]
    with pytest.raises(InvalidRequest) as caught:
        stage(source_size=size, x=first - 1, y=last + 1).plan(CHOICE)
    assert [error["pointer"] for error in caught.value.errors] == ["/input/x", "/input/y"]


@pytest.mark.parametrize(
    ("x", "y", "size"), [(128, 128, 256), (100, 128, 200), (128, 201, 110), (4, 128, 8)]
)
def test_a_source_larger_than_the_target_is_scaled_to_its_place(x: int, y: int, size: int) -> None:
    large = stage(source_size=300, target_size=256, x=x, y=y)
    assert large.source_size() == size
    assert large.plan(CHOICE).params["source_size"] == size
    assert data(source_size=300, target_size=256, x=x, y=y)["source"].size == (size, size)


@pytest.mark.parametrize("place", [{"x": 3}, {"y": 300}, {"x": 255}])
def test_a_scaled_source_needs_a_place_too(place: dict[str, int]) -> None:
    fields = {"source_size": 300, "target_size": 256, "x": 128, "y": 128, **place}
    with pytest.raises(InvalidRequest, match="permitted is 4 to 252"):
        stage(**fields).plan(CHOICE)


@pytest.mark.parametrize(
    "fields",
    [
        {"source_size": 7},
        {"target_size": 2049},
        {"x": -1},
        {"x": 10.5},
        {"steps": 0},
        {"variant": "best"},
        {"precision": "fp16"},
    ],
)
def test_what_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage(**fields)


def test_the_variant_seed_needs_more_than_one_pixel_of_deep_features() -> None:
    fields: dict[str, Any] = {"source_size": 8, "x": 16, "y": 16}
    with pytest.raises(InvalidRequest, match=r"/input/target_size: .* at least 33"):
        stage(variant="seed", target_size=32, **fields).plan(CHOICE)
    stage(variant="seed", target_size=33, **fields).plan(CHOICE)
    stage(variant="paper", target_size=32, **fields).plan(CHOICE)


def test_a_sample_with_a_mask() -> None:
    assert data(source_size=240, x=200, y=250, seed=5) == {
        "source": ImageInput("file_s", (240, 240)),
        "mask": ImageInput("file_m", (240, 240), alpha=True),
        "target": ImageInput("file_t", (512, 512)),
        "x": 200,
        "y": 250,
        "seed": 5,
    }


def test_without_a_mask_the_sources_transparency_is_asked_for() -> None:
    sample = data(mask=None)
    assert sample["mask"] is None
    assert sample["source"] == ImageInput("file_s", (300, 300), alpha=True)


def test_the_papers_second_pass_has_a_target_of_its_own_size() -> None:
    fields: dict[str, Any] = {"target_size": 256, "x": 128, "y": 128}
    assert data(variant="paper", **fields)["target_full"] == ImageInput("file_t", (512, 512))
    assert "target_full" not in data(variant="paper")
    assert "target_full" not in data(variant="seed", **fields)


def test_the_outputs_of_a_network_variant() -> None:
    picture = Image.new("RGB", (8, 8))
    losses = {"first_pass": {"tv": 1.0}, "second_pass": {"tv": 0.5}}
    result = {
        "first_pass": picture,
        "second_pass": picture,
        "losses": losses,
        "networks": {"vgg16": "hed"},
        "files": {"process.mp4": b"video", "losses.svg": b"plot"},
    }
    assert stage(seed=5).produce([result]) == Produced(
        {"losses": losses, "networks": {"vgg16": "hed"}},
        (ImageOutput("first_pass.png", picture, 5), ImageOutput("second_pass.png", picture, 5)),
        (
            FileOutput("process.mp4", b"video", "video/mp4"),
            FileOutput("losses.svg", b"plot", "image/svg+xml"),
        ),
        {"x": 200, "y": 235},
    )


def test_the_output_of_a_classic_variant() -> None:
    picture = Image.new("RGB", (8, 8))
    produced = stage(variant="alpha").produce([{"composite": picture}])
    assert produced.images == (ImageOutput("composite.png", picture, None),)
    assert (produced.outputs, produced.files) == ({}, ())
