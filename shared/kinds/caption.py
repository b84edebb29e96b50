"""`caption`: say in words what a picture shows, perhaps in other languages too."""

from typing import Annotated

from pydantic import Field

from shared.kind import ImageRef, Kind, KindInput, Languages, Stage, Text
from shared.stages import CaptionStage, Prompt, TranslatePromptStage


class CaptionInput(KindInput):
    image: ImageRef
    prompt: Text | None = Field(default=None, description="Words that the caption begins with.")
    max_tokens: Annotated[int, Field(ge=1, le=512)] | None = None
    translate_to: Languages = []


class Caption(Kind[CaptionInput]):
    name = "caption"
    summary = "Say in words what a picture shows."
    Input = CaptionInput

    def stages(self, request: CaptionInput) -> list[Stage]:
        stages: list[Stage] = [CaptionStage(request.image, request.prompt, request.max_tokens)]
        if request.translate_to:
            stages.append(TranslatePromptStage(Prompt(), request.translate_to))
        return stages


KIND = Caption()
