"""Pictures in and out: bounded decoding of untrusted bytes, and PNG with a recipe.

Whatever comes in leaves as 8-bit RGB: animations give their first frame, 16-bit samples are
scaled, transparency lies on white, EXIF orientation is applied, metadata is dropped.
"""

import io
import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from shared.errors import InvalidImage

# The size is checked against the MAX_PIXELS setting before any pixel is decoded; Pillow's own
# limit would refuse, or warn about, sizes that the setting allows.
Image.MAX_IMAGE_PIXELS = None

# Damaged metadata is no news: it is dropped anyway.
warnings.filterwarnings("ignore", module=r"PIL\.")

MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a camera's JPEG that carries a second picture
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
SUPPORTED = "PNG, JPEG, WebP, GIF, BMP, TIFF"
RECIPE_CHUNK = "imagemill"

_FORMATS = tuple(name for name in MEDIA_TYPES if name != "MPO")  # found by the JPEG reader
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class ImageInfo:
    """What an image is; width and height as it is shown (EXIF orientation applied)."""

    media_type: str
    width: int
    height: int


def probe(data: bytes, max_pixels: int) -> ImageInfo:
    """Decode every byte of the first frame and say what it is. Raises InvalidImage."""
    image = _load(data, max_pixels)
    width, height = image.size
    if _orientation(image) in _TURNED:
        width, height = height, width
    return ImageInfo(MEDIA_TYPES[image.format or ""], width, height)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """The first frame as 8-bit RGB without metadata. Raises InvalidImage."""
    image = _load(data, max_pixels)
    try:
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        rgb = _rgb(image)
    except Exception as error:
        raise InvalidImage(f"the image's colours cannot be read: {error}") from error
    rgb.info = {}
    return rgb


def encode_png(image: Image.Image, recipe: dict[str, Any]) -> bytes:
    """PNG bytes with the recipe as JSON in a text chunk; equal inputs give equal bytes."""
    chunks = PngImagePlugin.PngInfo()
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    chunks.add_itxt(RECIPE_CHUNK, text)
    plain = image.copy()
    plain.info = {}
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG", pnginfo=chunks, compress_level=6)
    return buffer.getvalue()


def read_recipe(data: bytes) -> dict[str, Any] | None:
    """The recipe that `encode_png` wrote; None where there is none. Raises InvalidImage."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            text = image.info.get(RECIPE_CHUNK)
        return json.loads(text) if text else None
    except Exception as error:
        raise InvalidImage("not a PNG with a readable recipe") from error


def _load(data: bytes, max_pixels: int) -> Image.Image:
    """Open, check the size, then decode. Pillow raises errors of many types on bad files."""
    if not data:
        raise InvalidImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise InvalidImage(
            f"not an image of a supported format ({SUPPORTED}), or cut short"
        ) from None
    except Exception as error:
        raise InvalidImage(f"the image is truncated or damaged: {error}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidImage(f"{width}×{height} pixels are more than the {max_pixels} allowed")
    if width < 1 or height < 1:
        raise InvalidImage("the image has no pixels")
    try:
        image.load()
    except Exception as error:
        raise InvalidImage(f"the image is truncated or damaged: {error}") from error
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF does not spoil the pixels
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # The high byte, as Pillow does for 16-bit colour; convert("L") would clip instead.
        high = np.asarray(image) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_scaled(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        white.alpha_composite(rgba)
        return white.convert("RGB")
    return image.convert("RGB")


def _scaled(values: np.ndarray) -> np.ndarray:
    """Grey of unstated range to 0–255: full scale is the least usual one that holds all."""
    usual = (1.0,) if values.dtype.kind == "f" else ()
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    peak = float(values.max())
    full = next((top for top in (*usual, 255.0, 65535.0, 2.0**32) if peak <= top), peak)
    return np.clip(values * (255 / full), 0, 255).round().astype(np.uint8)
