"""Fetching EasyOCR's weights with its own downloader, which checks their digests."""

import os
from collections.abc import Sequence
from pathlib import Path

from shared.errors import ModelNotAvailable


def fetch(folder: Path, languages: Sequence[str]) -> None:
    """Bring the detector and what reads these languages (EasyOCR's codes) into a folder.

    What is there already and whole is kept. Raises ModelNotAvailable.
    """
    try:
        import easyocr
    except ImportError as error:
        raise not_installed(error) from error
    unpickle_tensors_only()
    for language in languages:
        try:
            easyocr.Reader(
                [language],
                gpu=False,
                model_storage_directory=str(folder),
                user_network_directory=str(folder),
                download_enabled=True,
                verbose=False,
                quantize=False,
            )
        except Exception as error:
            raise ModelNotAvailable(
                f"easyocr's weights for {language} could not be fetched whole: {error}"
            ) from error


def unpickle_tensors_only() -> None:
    """Make torch unpickle nothing but tensors in this process, though EasyOCR asks for all."""
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"


def not_installed(error: ImportError) -> ModelNotAvailable:
    """What to say where EasyOCR, or something that it needs, cannot be imported."""
    return ModelNotAvailable(
        f"easyocr is not installed: pip install 'imagemill-server[easyocr]' ({error})"
    )
