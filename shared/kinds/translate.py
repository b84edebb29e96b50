"""`translate`: a text, or a list of texts, into another language."""

from typing import Annotated

from pydantic import Field

from shared.kind import Kind, KindInput, Language, Stage, Text
from shared.stages import TranslateTextStage


class TranslateInput(KindInput):
    text: Text | Annotated[list[Text], Field(min_length=1, max_length=256)]
    source: Language = "eng_Latn"
    target: Language = "arb_Arab"


class Translate(Kind[TranslateInput]):
    name = "translate"
    summary = "Translate a text, or a list of texts."
    Input = TranslateInput

    def stages(self, request: TranslateInput) -> list[Stage]:
        return [TranslateTextStage(request.text, request.source, request.target)]


KIND = Translate()
