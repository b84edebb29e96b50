"""OCR: picture → the text in it and where it stands, with PP-OCR (RapidOCR) or EasyOCR.

sample  {"image": RGB PIL.Image}
params  languages (list of the model's own codes; ["en"])
result  {"text": the regions' texts in reading order, joined by a space,
         "regions": [{"box": four [x, y] in pixels, clockwise from the top left,
                      "text": str, "confidence": 0 to 1}],
         "image": RGB PIL.Image, the picture with the boxes and texts drawn}

A checkpoint's `settings` name the engine: {"engine": "rapidocr" | "easyocr"}.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from PIL import Image

from shared.errors import ModelNotAvailable
from workers.ocr.easy_files import not_installed
from workers.ocr.regions import Region, annotated, in_reading_order
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor


class Reader(Protocol):
    """A loaded engine."""

    def read(self, picture: Image.Image, languages: Sequence[str]) -> list[Region]:
        """The regions of text, in no order. Raises PredictionFailed for unknown languages."""


class Ocr(Predictor):
    """Reads one picture at a time, so that none has company."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._readers: dict[str, Reader] = {}

    def load(self, checkpoint: Checkpoint) -> None:
        engine = checkpoint.settings.get("engine", "rapidocr")
        if engine not in ENGINES:
            raise ModelNotAvailable(
                f"{checkpoint.model}: {engine} is no OCR engine; known are {', '.join(ENGINES)}"
            )
        self._readers[checkpoint.model] = ENGINES[engine](checkpoint, self.device)

    def unload(self, model: str) -> None:
        self._readers.pop(model, None)

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        reader = self._readers[batch.model]
        languages = batch.params.get("languages", ["en"])
        total = len(batch.samples)
        results = []
        for done, sample in enumerate(batch.samples, 1):
            regions = in_reading_order(reader.read(sample["image"], languages))
            results.append(result(sample["image"], regions))
            if not monitor.step(done, total, f"picture {done} of {total}"):
                return []
        return results


def result(picture: Image.Image, regions: Sequence[Region]) -> dict[str, Any]:
    """What the family returns for a picture."""
    return {
        "text": " ".join(region.text for region in regions),
        "regions": [
            {
                "box": [[round(x, 1), round(y, 1)] for x, y in region.box],
                "text": region.text,
                "confidence": round(region.confidence, 4),
            }
            for region in regions
        ],
        "image": annotated(picture, regions),
    }


def _rapidocr(checkpoint: Checkpoint, device: str) -> Reader:
    from workers.ocr.rapid import RapidReader

    return RapidReader(checkpoint.path)


def _easyocr(checkpoint: Checkpoint, device: str) -> Reader:
    try:
        from workers.ocr.easy import EasyReader
    except ImportError as error:
        raise not_installed(error) from error
    return EasyReader(checkpoint.path, device)


# Imported when asked for: a worker needs the packages of its own models only.
ENGINES: Mapping[str, Callable[[Checkpoint, str], Reader]] = {
    "rapidocr": _rapidocr,
    "easyocr": _easyocr,
}

PREDICTOR = Ocr
