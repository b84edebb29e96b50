"""`caption`: say in words what a picture shows."""

from typing import Annotated

from pydantic import Field

from shared.kind import ImageRef, Kind, KindInput, Stage, Text
from shared.stages import CaptionStage


class CaptionInput(KindInput):
    image: ImageRef
    prompt: Text | None = Field(default=None, description="Words that the caption begins with.")
    max_tokens: Annotated[int, Field(ge=1, le=512)] | None = None


class Caption(Kind[CaptionInput]):
    name = "caption"
    summary = "Say in words what a picture shows."
    Input = CaptionInput

    def stages(self, request: CaptionInput) -> list[Stage]:
        return [CaptionStage(request.image, request.prompt, request.max_tokens)]


KIND = Caption()
