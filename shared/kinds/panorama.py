"""`panorama`: one wide picture out of two, with a generated middle between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from shared.contracts import ImageInput, ImageOutput, Produced, Sample, Step
from shared.kind import ImageRef, Kind, KindInput, Size, Stage
from shared.models import ModelChoice

NAMES = ("panorama.png", "panorama-swapped.png")
SIDES = ("left", "right")


def unfit(
    sizes: Mapping[str, Size], smallest: int, full_height: bool, max_pixels: int
) -> Mapping[str, str]:
    """What is wrong, by field, with a left and a right picture of these sizes, as far as known.

    Each side has at least `smallest` pixels, and the result no more than `max_pixels`.
    """
    small = {
        name: f"{width}×{height} pixels; the model takes none smaller than {smallest}×{smallest}"
        for name, (width, height) in sizes.items()
        if min(width, height) < smallest
    }
    if small or not full_height or len(sizes) < len(SIDES):
        return small
    width, height = full_size(sizes["left"], sizes["right"])
    if width * height <= max_pixels:
        return {}
    return {
        "full_height": f"the result would have {width}×{height} pixels, which are more than the "
        f"{max_pixels} allowed"
    }


def full_size(left: Size, right: Size) -> Size:
    """The size of a result at full height: a square between the pictures at the lower's height."""
    height = min(left[1], right[1])
    return width_at(left, height) + height + width_at(right, height), height


def width_at(size: Size, height: int) -> int:
    """How wide a picture of this size is when it is made so high."""
    return max(1, round(size[0] * height / size[1]))


class PanoramaInput(KindInput):
    left: ImageRef
    right: ImageRef
    both_orders: bool = Field(
        default=False, description="Draw what lies between right and left too."
    )
    full_height: bool = Field(
        default=False,
        description="Put the middle between the whole pictures at their own size, the larger one "
        "shrunk to the height of the other; otherwise the result is as large as the model draws.",
    )


@dataclass(frozen=True)
class PanoramaStage(Stage):
    """Two pictures → a panorama of them, and with `both_orders` a second one."""

    request: PanoramaInput
    name: str = "panorama"

    def plan(self, models: ModelChoice) -> Step:
        return models.step(self.name, "panorama", full_height=self.request.full_height)

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        left, right = ImageInput(self.request.left), ImageInput(self.request.right)
        samples = [Sample({"left": left, "right": right})]
        if self.request.both_orders:
            samples.append(Sample({"left": right, "right": left}))
        return samples

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        drawn = zip(NAMES, results, strict=False)
        return Produced(
            images=tuple(ImageOutput(name, result["image"], drew=True) for name, result in drawn)
        )


class Panorama(Kind[PanoramaInput]):
    name = "panorama"
    summary = "Make one wide picture of two, with a generated middle between them."
    Input = PanoramaInput

    def stages(self, request: PanoramaInput) -> list[Stage]:
        return [PanoramaStage(request)]

    def unfit(
        self,
        request: PanoramaInput,
        models: ModelChoice,
        sizes: Mapping[str, Size],
        max_pixels: int,
    ) -> Mapping[str, str]:
        return unfit(sizes, models.model("panorama").smallest, request.full_height, max_pixels)


KIND = Panorama()
