"""Reading text with EasyOCR, an optional extra, from weights that were fetched before.

Its weights are pickled by torch: they are checked against EasyOCR's digests and unpickled with
nothing but tensors allowed.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import easyocr
import numpy as np
from easyocr.config import all_lang_list, detection_models
from PIL import Image

from shared.errors import ModelNotAvailable, PredictionFailed
from workers.ocr.easy_files import unpickle_tensors_only
from workers.ocr.regions import Region, box_within

READERS = 4  # sets of languages that are kept in memory
LONGEST = 32  # times the shorter side, of what the detector can shrink


class EasyReader:
    """One `easyocr.Reader` for each set of languages, with EasyOCR's own parameters."""

    def __init__(self, folder: Path, device: str) -> None:
        """folder: where the weights lie. Raises ModelNotAvailable."""
        if not (folder / detection_models["craft"]["filename"]).is_file():
            raise ModelNotAvailable(
                f"{folder} holds no EasyOCR; fetch it with: python -m workers models pull easyocr"
            )
        unpickle_tensors_only()
        self._folder = str(folder)
        self._gpu = device if device.startswith("cuda") else False
        self._reader = lru_cache(READERS)(self._load)

    def read(self, picture: Image.Image, languages: Sequence[str]) -> list[Region]:
        """The regions of an RGB picture, in no order. Raises PredictionFailed."""
        reader = self._reader(tuple(sorted(set(languages))))
        padded = for_detector(picture)
        flat, slanted = reader.detect(np.asarray(padded), reformat=False)
        grey = np.asarray(padded.convert("L"))
        found = reader.recognize(grey, flat[0], slanted[0], reformat=False)
        regions = []
        for corners, text, confidence in found:
            box = box_within(corners, picture)
            (x0, y0), (x1, y1) = box[:2]
            regions.append(Region(box, text.strip(), float(confidence), (x1 - x0, y1 - y0)))
        return [region for region in regions if region.text]

    def _load(self, languages: tuple[str, ...]) -> Any:
        """A reader of these languages. Raises PredictionFailed, ModelNotAvailable."""
        if unknown := set(languages) - set(all_lang_list):
            raise PredictionFailed(f"easyocr does not read {', '.join(sorted(unknown))}")
        try:
            return easyocr.Reader(
                list(languages),
                gpu=self._gpu,
                model_storage_directory=self._folder,
                user_network_directory=self._folder,
                download_enabled=False,
                verbose=False,
                quantize=False,
            )
        except ValueError as error:  # languages of two scripts
            raise PredictionFailed(f"easyocr cannot read these together: {error}") from error
        except FileNotFoundError as error:
            raise ModelNotAvailable(f"easyocr has no weights for {languages}: {error}") from error


def for_detector(picture: Image.Image) -> Image.Image:
    """The picture, a very long one made wider with black, so that no side shrinks to nothing."""
    least = max(picture.size) // LONGEST
    if min(picture.size) >= least:
        return picture
    grown = Image.new("RGB", (max(picture.width, least), max(picture.height, least)))
    grown.paste(picture)
    return grown
