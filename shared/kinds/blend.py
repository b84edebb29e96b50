"""`blend`: caption the first picture, then redraw the second one from that caption."""

from shared.kind import (
    Count,
    Guidance,
    ImageRef,
    Kind,
    KindInput,
    Languages,
    Seed,
    Side,
    Stage,
    Steps,
    Strength,
)
from shared.stages import DrawStage, caption_and_translate


class BlendInput(KindInput):
    first: ImageRef
    second: ImageRef
    translate_to: Languages = []
    strength: Strength = 0.75
    guidance: Guidance = 7.5
    steps: Steps = 50
    n: Count = 1
    seed: Seed | None = None
    width: Side | None = None
    height: Side | None = None


class Blend(Kind[BlendInput]):
    name = "blend"
    summary = "Caption the first picture and redraw the second one from that caption."
    Input = BlendInput

    def stages(self, request: BlendInput) -> list[Stage]:
        return [
            *caption_and_translate(request.first, request.translate_to),
            DrawStage(
                self.name,
                request.n,
                request.seed or 0,
                image=request.second,
                width=request.width,
                height=request.height,
                steps=request.steps,
                guidance=request.guidance,
                strength=request.strength,
            ),
        ]


KIND = Blend()
