"""`ocr`: read the text in a picture."""

from shared.kind import ImageRef, Kind, KindInput, OcrLanguages, Stage
from shared.stages import OcrStage


class OcrInput(KindInput):
    image: ImageRef
    languages: OcrLanguages = ["en"]


class Ocr(Kind[OcrInput]):
    name = "ocr"
    summary = "Read the text in a picture, and show where it stands."
    Input = OcrInput

    def stages(self, request: OcrInput) -> list[Stage]:
        return [OcrStage(request.image, request.languages, annotated=True)]


KIND = Ocr()
