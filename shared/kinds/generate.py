"""`generate`: draw pictures from a prompt."""

from shared.kind import Count, Guidance, Kind, KindInput, Seed, Side, Stage, Steps, Text
from shared.stages import DrawStage


class GenerateInput(KindInput):
    prompt: Text
    negative_prompt: Text | None = None
    n: Count = 1
    seed: Seed | None = None
    width: Side | None = None
    height: Side | None = None
    steps: Steps | None = None
    guidance: Guidance = 7.5


class Generate(Kind[GenerateInput]):
    name = "generate"
    summary = "Draw pictures from a prompt."
    Input = GenerateInput

    def stages(self, request: GenerateInput) -> list[Stage]:
        return [
            DrawStage(
                self.name,
                request.n,
                request.seed or 0,
                prompt=request.prompt,
                negative_prompt=request.negative_prompt,
                width=request.width,
                height=request.height,
                steps=request.steps,
                guidance=request.guidance,
            )
        ]


KIND = Generate()
