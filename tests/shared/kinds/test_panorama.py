"""`panorama`: what its step takes and makes."""

from typing import Any

from PIL import Image

from shared.contracts import ImageInput, ImageOutput, Priority, Produced
from shared.kinds.panorama import PanoramaInput, PanoramaStage
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


def test_the_pictures_count_as_drawn() -> None:
    one, other = Image.new("RGB", (9, 3)), Image.new("RGB", (3, 3))
    first = ImageOutput("panorama.png", one, drew=True)
    assert stage().produce([{"image": one}]) == Produced(images=(first,))
    swapped = ImageOutput("panorama-swapped.png", other, drew=True)
    both = stage(both_orders=True).produce([{"image": one}, {"image": other}])
    assert both == Produced(images=(first, swapped))
