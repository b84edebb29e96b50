"""`vqa`: answer a question about a picture."""

from typing import Annotated

from pydantic import Field

from shared.kind import ImageRef, Kind, KindInput, Stage
from shared.stages import AnswerStage

MAX_QUESTION = 2_000  # characters; many models read no more than 512 tokens


class VqaInput(KindInput):
    image: ImageRef
    question: Annotated[str, Field(min_length=1, max_length=MAX_QUESTION, pattern=r"\S")]


class Vqa(Kind[VqaInput]):
    name = "vqa"
    summary = "Answer a question about a picture."
    Input = VqaInput

    def stages(self, request: VqaInput) -> list[Stage]:
        return [AnswerStage(request.image, request.question)]


KIND = Vqa()
