"""`reimagine`: read a picture, translate what was read, and draw new pictures from it."""

from typing import Literal

from shared.kind import Count, Guidance, ImageRef, Kind, KindInput, Languages, Seed, Stage, Steps
from shared.stages import DrawStage, caption_and_translate


class ReimagineInput(KindInput):
    image: ImageRef
    read: Literal["caption"] = "caption"
    translate_to: Languages = ["arb_Arab"]
    n: Count = 1
    seed: Seed | None = None
    steps: Steps | None = None
    guidance: Guidance = 7.5


class Reimagine(Kind[ReimagineInput]):
    name = "reimagine"
    summary = "Read a picture, translate the text and draw new pictures from it."
    Input = ReimagineInput

    def stages(self, request: ReimagineInput) -> list[Stage]:
        return [
            *caption_and_translate(request.image, request.translate_to),
            DrawStage(
                self.name,
                request.n,
                request.seed or 0,
                steps=request.steps,
                guidance=request.guidance,
            ),
        ]


KIND = Reimagine()
