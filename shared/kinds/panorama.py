"""`panorama`: one wide picture out of two, with a generated middle between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from shared.contracts import ImageInput, ImageOutput, Produced, Sample, Step
from shared.kind import ImageRef, Kind, KindInput, Stage
from shared.models import ModelChoice

NAMES = ("panorama.png", "panorama-swapped.png")


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


KIND = Panorama()
