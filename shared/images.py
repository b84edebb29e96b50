"""Pictures in and out: bounded decoding of untrusted bytes, and PNG with a recipe.

Whatever comes in leaves as 8-bit RGB: animations give their first frame, 16-bit samples are
scaled, transparency lies on white (or is kept, where it is asked for), EXIF orientation is
applied, metadata is dropped.
"""

import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from shared.errors import InvalidImage
from shared.image_limits import check_metadata

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
_TURNS = {  # by EXIF orientation: what shows the picture as it was taken
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = {5, 6, 7, 8}  # of these, the ones that swap width and height
_MAX_EXIF = 2**20  # bytes; a camera writes up to 64 kB, and what is parsed of it grows
_TILE = 1024  # pixels a side
_REDUCING_GAP = 3.0  # nothing is seen of a shrinking in two steps from here on (Pillow's manual)

Box = tuple[int, int, int, int]


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


def extension(data: bytes) -> str:
    """How the name of such a file ends. Raises InvalidImage."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            subtype = MEDIA_TYPES[image.format or ""].partition("/")[2]
    except (OSError, ValueError):
        raise InvalidImage("not an image of a supported format") from None
    return {"jpeg": "jpg", "tiff": "tif"}.get(subtype, subtype)


def decode(
    data: bytes,
    max_pixels: int,
    size: tuple[int, int] | None = None,
    longest: int | None = None,
    alpha: bool = False,
) -> Image.Image:
    """The first frame as 8-bit RGB without metadata, at its own size, at `size` (width,
    height), or shrunk to `longest` pixels at its longest side. Raises InvalidImage.

    With `alpha` it is RGBA, opaque where the file knows no transparency. Takes 4 bytes for each
    pixel of the file (WebP 16) and, at its own size, 4 to 8 more.
    """
    image = _load(data, max_pixels)
    try:
        orientation = _orientation(image)
        width, height = image.size
        if longest and longest < max(width, height):
            scale = longest / max(width, height)
            size = max(1, round(width * scale)), max(1, round(height * scale))
        elif size and orientation in _TURNED:
            size = size[1], size[0]
        mode = "RGBA" if alpha else "RGB"
        pixels = _resized(image, size, mode) if size else _reduced(image, 1, 1, mode)
        if pixels is image:
            pixels = image.copy()  # without the file
        pixels.info = {}
        del image
        if orientation in _TURNS:
            pixels = pixels.transpose(_TURNS[orientation])
    except Exception as error:
        raise InvalidImage(f"the image's colours cannot be read: {error}") from error
    return pixels


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
    check_metadata(data)
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
    if len(image.info.get("exif", b"")) > _MAX_EXIF:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF does not spoil the pixels
        return 1


def _resized(image: Image.Image, size: tuple[int, int], mode: str) -> Image.Image:
    """RGB or RGBA of this size, by way of whole pixels put together: a large picture is never
    held in colours at full size."""
    x, y = (
        max(1, int(old / new / _REDUCING_GAP)) for old, new in zip(image.size, size, strict=True)
    )
    box = (0, 0, image.width / x, image.height / y)
    return _reduced(image, x, y, mode).resize(size, Image.Resampling.BICUBIC, box)


def _reduced(image: Image.Image, x: int, y: int, mode: str) -> Image.Image:
    """RGB or RGBA with every x·y pixels put together, tile by tile; or the image itself."""
    if (
        (x, y) == (1, 1)
        and image.mode == mode
        and (mode == "RGBA" or not image.has_transparency_data)
    ):
        return image
    full = _full_scale(image)
    reduced = Image.new(mode, (-(-image.width // x), -(-image.height // y)))
    for box in _tiles(image, x, y):
        tile = _colours(image.crop(box), full, mode).reduce((x, y))
        reduced.paste(tile, (box[0] // x, box[1] // y))
    return reduced


def _tiles(image: Image.Image, x: int = 1, y: int = 1) -> Iterator[Box]:
    """Boxes that cover the image; their left and upper edges are multiples of x and y."""
    wide, high = (step * max(1, _TILE // step) for step in (x, y))
    for top in range(0, image.height, high):
        for left in range(0, image.width, wide):
            yield left, top, min(left + wide, image.width), min(top + high, image.height)


def _colours(image: Image.Image, full: float, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # The high byte, as Pillow does for 16-bit colour; convert("L") would clip instead.
        high = np.asarray(image) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        values = _finite(image) * (255 / full)
        return Image.fromarray(np.clip(values, 0, 255).round().astype(np.uint8)).convert(mode)
    if image.has_transparency_data and mode == "RGB":
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        white.alpha_composite(rgba)
        return white.convert("RGB")
    return image.convert(mode)


def _full_scale(image: Image.Image) -> float:
    """What is white in grey of unstated range: the least usual value that no pixel exceeds."""
    if image.mode not in ("I", "F"):
        return 255.0
    peak = max(float(_finite(image.crop(box)).max()) for box in _tiles(image))
    usual = (1.0,) if image.mode == "F" else ()
    return next((top for top in (*usual, 255.0, 65535.0, 2.0**32) if peak <= top), peak)


def _finite(grey: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(grey).astype(np.float32), posinf=0, neginf=0)
