"""Reading text with PP-OCR through RapidOCR and onnxruntime, from the models in its wheel.

The detector sees the picture at its own scale, which PP-OCR's later versions are trained for, and
the recogniser sees every region at the full resolution.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rapidocr import ModelType, OCRVersion, RapidOCR
from rapidocr.utils.model_resolver import route_to_model_key
from rapidocr.utils.typings import TaskType

from shared.errors import ModelNotAvailable, PredictionFailed
from workers.ocr.regions import Box, Region, box_within

DETECTOR, RECOGNISER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
MODEL = (TaskType.REC, OCRVersion.PPOCRV6)
LACKING = {"vi"}  # the package names it too, but the model has not half of its letters
PIXELS = 1_000_000  # that the detector is shown, as in its training; more is shrunk for it
SHORTEST, MULTIPLE = 64, 32  # of the sides that the detector takes
TALL = 2.0  # height by width of a box whose text must run up or down; a lone letter's is 1.7
LONG = 200.0  # width by height that the recogniser is shown at most: memory grows with its square
SURE = 0.9  # confidence at which no other way up is tried
LEAST = 0.5  # confidence of what is kept, as in PP-OCR


class RapidReader:
    """One multilingual model: the languages asked for are checked, and all others read too."""

    def __init__(self, folder: Path) -> None:
        """Load the models of an installed rapidocr. Raises ModelNotAvailable."""
        models = folder / "models"
        for name in (DETECTOR, RECOGNISER):
            if not (models / name).is_file():
                raise ModelNotAvailable(f"{models} holds no {name}")
        self._engine: Any = RapidOCR(  # what a call returns depends on its arguments
            params={
                "Global.log_level": "critical",
                "Global.use_preprocess_img": False,
                "Global.use_vertical_padding": False,
                # A path that is given is not looked up, and so never downloaded.
                "Det.model_path": str(models / DETECTOR),
                "Rec.model_path": str(models / RECOGNISER),
                "Det.limit_type": "max",
                "Det.limit_side_len": 10**9,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads(),
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, picture: Image.Image, languages: Sequence[str]) -> list[Region]:
        """The regions of an RGB picture, in no order. Raises PredictionFailed."""
        for language in languages:
            check(language)
        regions = [self._region(picture, box) for box in self._boxes(picture)]
        return [region for region in regions if region.text and region.confidence >= LEAST]

    def _boxes(self, picture: Image.Image) -> list[Box]:
        """Where there may be text."""
        pixels, scale = for_detector(picture)
        found = self._engine(pixels, use_det=True, use_cls=False, use_rec=False).boxes
        if found is None:
            return []
        return [box_within(corners, picture) for corners in found / scale]

    def _region(self, picture: Image.Image, box: Box) -> Region:
        """The text in a box, read the way up that the recogniser is surest of."""
        patch = upright(picture, box)  # uint8 (height, width, 3), RGB
        tall = patch.shape[0] > TALL * patch.shape[1]
        best = ("", 0.0, 0)
        for turns in (1, 3, 0) if tall else (0, 2):  # quarter turns against the clock
            best = max(best, (*self._text(np.rot90(patch, turns)), turns), key=lambda read: read[1])
            if best[1] >= SURE:
                break
        text, confidence, turns = best
        (x0, y0), (x1, y1), _, (x3, y3) = box
        across, down = (x1 - x0, y1 - y0), (x3 - x0, y3 - y0)
        along = (across, down, (-across[0], -across[1]), (-down[0], -down[1]))[turns]
        return Region(box, text.strip(), confidence, along)

    def _text(self, pixels: Any) -> tuple[str, float]:
        """pixels: uint8 (height, width, 3), RGB → its text and the confidence, 0 to 1."""
        bgr = np.ascontiguousarray(pixels[:, :, ::-1])
        read = self._engine(bgr, use_det=False, use_cls=False, use_rec=True)
        return (read.txts[0], float(read.scores[0])) if read.txts else ("", 0.0)


def check(language: str) -> None:
    """Raises PredictionFailed where the recogniser does not read a language."""
    try:
        route_to_model_key(*MODEL, language, ModelType.SMALL)
        known = language not in LACKING
    except ValueError:
        known = False
    if not known:
        reads = ", ".join(languages())
        raise PredictionFailed(f"rapidocr does not read {language}; it reads {reads}")


def languages() -> list[str]:
    """The codes of what the recogniser reads, as RapidOCR calls them, without their aliases."""
    named = RapidOCR.list_supported_langs(*MODEL, ModelType.SMALL)
    return [name for name in named if name not in LACKING]


def for_detector(picture: Image.Image) -> tuple[Any, float]:
    """uint8 (height, width, 3), BGR, of sides that the detector takes, and the scale it is at.

    Sides grow by repeating the last row and column, so that the text keeps its proportions.
    """
    scale = min(1.0, math.sqrt(PIXELS / (picture.width * picture.height)))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if scale < 1:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    right, bottom = (
        max(SHORTEST, math.ceil(side / MULTIPLE) * MULTIPLE) - side for side in (width, height)
    )
    pixels = np.pad(np.asarray(picture), ((0, bottom), (0, right), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels[:, :, ::-1]), scale


def upright(picture: Image.Image, box: Box) -> Any:
    """uint8 (height, width, 3), RGB: what lies in a box, its top edge made horizontal.

    A line that is too long for the recogniser is squeezed.
    """
    top_left, top_right, bottom_right, bottom_left = box
    width = max(math.dist(top_left, top_right), math.dist(bottom_left, bottom_right), 1)
    height = max(math.dist(top_left, bottom_left), math.dist(top_right, bottom_right), 1)
    corners = (*top_left, *bottom_left, *bottom_right, *top_right)
    size = (round(min(width, LONG * height)), round(min(height, LONG * width)))
    return np.asarray(
        picture.transform(size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    )


def threads() -> int:
    """How many onnxruntime may use: OMP_NUM_THREADS, else (-1) as many as it likes."""
    return int(os.environ.get("OMP_NUM_THREADS") or -1)
