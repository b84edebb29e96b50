"""`panorama`: what its step takes and makes."""

from typing import Any

import pytest
from PIL import Image

from shared.contracts import ImageInput, ImageOutput, Priority, Produced
from shared.kind import Size
from shared.kinds.panorama import PanoramaInput, PanoramaStage, unfit
from shared.models import Model, ModelChoice, Registry

MODELS = {("panorama", "any"): Model(name="any", family="panorama")}
CHOICE = ModelChoice(
    Registry(MODELS, {"only": {"panorama": "any"}}), "only", {}, Priority.INTERACTIVE
)
LEFT, RIGHT = ImageInput("file_l"), ImageInput("file_r")


def stage(**fields: Any) -> PanoramaStage:
    return PanoramaStage(PanoramaInput(left="file_l", right="file_r", **fields))


def sides(**fields: Any) -> list[tuple[ImageInput, ImageInput]]:
    samples = stage(**fields).samples(stage(**fields).plan(CHOICE), {})
    return [(sample.data["left"], sample.data["right"]) for sample in samples]


def test_the_other_order_is_drawn_on_request() -> None:
    assert sides() == [(LEFT, RIGHT)]
    assert sides(both_orders=True) == [(LEFT, RIGHT), (RIGHT, LEFT)]


def test_orders_share_a_batch_and_heights_do_not() -> None:
    assert stage(both_orders=True).plan(CHOICE) == stage().plan(CHOICE)
    assert stage().plan(CHOICE).params == {"full_height": False}
    assert stage(full_height=True).plan(CHOICE).params == {"full_height": True}


def test_pictures_smaller_than_the_model_takes_are_both_named() -> None:
    sizes = {"left": (64, 64), "right": (90, 64)}
    assert unfit(sizes, 64, full_height=False, max_pixels=1) == {}
    both = unfit(sizes, 65, full_height=True, max_pixels=1)
    assert both == {
        "left": "64×64 pixels; the model takes none smaller than 65×65",
        "right": "90×64 pixels; the model takes none smaller than 65×65",
    }


@pytest.mark.parametrize(
    ("left", "right", "pixels"),
    [((300, 100), (200, 100), 600 * 100), ((9000, 300), (50, 100), (3000 + 100 + 50) * 100)],
)
def test_a_result_has_no_more_pixels_than_allowed(left: Size, right: Size, pixels: int) -> None:
    for sizes in ({"left": left, "right": right}, {"left": right, "right": left}):
        assert unfit(sizes, 1, full_height=True, max_pixels=pixels) == {}
        wrong = unfit(sizes, 1, full_height=True, max_pixels=pixels - 1)
        assert f"{pixels // 100}×100 pixels" in wrong["full_height"]
        assert unfit(sizes, 1, full_height=False, max_pixels=1) == {}


def test_the_pictures_count_as_drawn() -> None:
    one, other = Image.new("RGB", (9, 3)), Image.new("RGB", (3, 3))
    first = ImageOutput("panorama.png", one, drew=True)
    assert stage().produce([{"image": one}]) == Produced(images=(first,))
    swapped = ImageOutput("panorama-swapped.png", other, drew=True)
    both = stage(both_orders=True).produce([{"image": one}, {"image": other}])
    assert both == Produced(images=(first, swapped))
