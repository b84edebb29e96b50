"""`generate`: draw pictures from a prompt."""

from shared.drawing import DrawInput, DrawStage
from shared.kind import Kind, Stage, Text


class GenerateInput(DrawInput):
    prompt: Text


class Generate(Kind[GenerateInput]):
    name = "generate"
    summary = "Draw pictures from a prompt."
    Input = GenerateInput

    def stages(self, request: GenerateInput) -> list[Stage]:
        return [DrawStage(self.name, request, request.prompt)]


KIND = Generate()
