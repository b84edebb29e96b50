"""Every odd kind of picture comes in as 8-bit RGB; everything else is refused in words."""

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from shared import images
from shared.errors import InvalidImage

LIMIT = 1_000_000
RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def red(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


def noise(size: tuple[int, int] = (80, 60)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def near(pixel: Any, wanted: tuple[int, int, int], by: int = 3) -> bool:
    return all(abs(a - b) <= by for a, b in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_supported_formats(form: str, media_type: str) -> None:
    data = encoded(red(), form)
    assert images.probe(data, LIMIT) == images.ImageInfo(media_type, 40, 30)
    decoded = images.decode(data, LIMIT)
    assert (decoded.mode, decoded.size) == ("RGB", (40, 30))
    assert near(decoded.getpixel((20, 15)), RED)


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert near(images.decode(data, LIMIT).getpixel((8, 8)), RED)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(form: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256)
    grey = np.asarray(images.decode(encoded(Image.fromarray(ramp), form), LIMIT))[0, :, 0]
    assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("kind", [np.int32, np.float32])
@pytest.mark.parametrize("top", [255, 65535])
def test_wide_grey_is_scaled(kind: type, top: int) -> None:
    ramp = np.linspace(0, top, 256).astype(kind).reshape(1, 256)
    grey = np.asarray(images.decode(encoded(Image.fromarray(ramp), "TIFF"), LIMIT))[0, :, 0]
    assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1


def test_float_grey_from_0_to_1() -> None:
    ramp = np.linspace(0, 1, 256).astype(np.float32).reshape(1, 256)
    grey = np.asarray(images.decode(encoded(Image.fromarray(ramp), "TIFF"), LIMIT))[0, :, 0]
    assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1


def test_float_grey_with_nan_and_infinity() -> None:
    values = np.array([[0, 1, np.nan, np.inf, -np.inf]], dtype=np.float32)
    decoded = images.decode(encoded(Image.fromarray(values), "TIFF"), LIMIT)
    assert decoded.size == (5, 1)


def test_16_bit_colour_png() -> None:
    row = struct.pack(">B6H", 0, 65535, 0, 0, 0, 32768, 65535)

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row))
    decoded = images.decode(data + chunk(b"IEND", b""), LIMIT)
    assert decoded.getpixel((0, 0)) == RED
    assert near(decoded.getpixel((1, 0)), (0, 128, 255))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_other_modes_become_rgb(mode: str) -> None:
    form = "TIFF" if mode in ("CMYK", "YCbCr", "LAB") else "PNG"
    if mode == "LAB":
        source = Image.new("LAB", (8, 8), (128, 128, 128))
    else:
        source = Image.new("RGB", (8, 8), WHITE).convert(mode)
    decoded = images.decode(encoded(source, form), LIMIT)
    assert decoded.mode == "RGB"
    assert mode == "LAB" or near(decoded.getpixel((4, 4)), WHITE)
    opaque = images.decode(encoded(source, form), LIMIT, alpha=True)
    assert opaque.mode == "RGBA"
    assert opaque.convert("RGB").tobytes() == decoded.tobytes()
    assert opaque.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(form: str) -> None:
    data = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), form)
    assert near(images.decode(data, LIMIT).getpixel((16, 16)), RED)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparency_lies_on_white(form: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = images.decode(encoded(image, form, **options), LIMIT)
    assert decoded.getpixel((7, 7)) == WHITE
    assert decoded.getpixel((0, 0)) == RED


@pytest.mark.parametrize("size", [None, (4, 4)])
def test_transparency_is_kept_where_it_is_asked_for(size: tuple[int, int] | None) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 255, 0))
    image.paste((255, 0, 0, 255), (0, 0, 4, 8))
    decoded = images.decode(encoded(image, "PNG"), LIMIT, size, alpha=True)
    assert decoded.getpixel((0, 0)) == (255, 0, 0, 255)
    assert decoded.getchannel("A").getpixel((decoded.width - 1, 0)) == 0
    # What cannot be seen colours nothing: half transparent pixels at the edge stay red.
    assert all(pixel[:3] == RED for _, pixel in decoded.getcolors() if pixel[3])


def test_a_transparent_palette_colour_lies_on_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((3, 3), 1)
    for form in ("PNG", "GIF"):
        decoded = images.decode(encoded(image, form, transparency=0), LIMIT)
        assert decoded.getpixel((7, 7)) == WHITE
        assert decoded.getpixel((3, 3)) == RED


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_without_an_alpha_channel(mode: str) -> None:
    black: Any = 0 if mode == "L" else (0, 0, 0)
    data = encoded(Image.new(mode, (4, 4), black), "PNG", transparency=black)
    assert images.decode(data, LIMIT).getpixel((2, 2)) == WHITE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste(RED, (0, 0, 20, 20))  # the left half
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", exif=exif, quality=95)
    decoded = images.decode(data, LIMIT)
    info = images.probe(data, LIMIT)
    assert decoded.size == (info.width, info.height)
    assert decoded.size == ((20, 40) if orientation >= 5 else (40, 20))
    width, height = decoded.size
    corner = {1: "left", 2: "right", 3: "right", 4: "left"}.get(orientation)
    if corner:
        at = (2, 10) if corner == "left" else (width - 3, 10)
    else:
        at = (10, 2) if orientation in (5, 6) else (10, height - 3)
    assert near(decoded.getpixel(at), RED, 10)
    assert "exif" not in decoded.info


def test_damaged_exif_does_not_spoil_the_pixels() -> None:
    data = encoded(red(), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff junk")
    assert images.decode(data, LIMIT).size == (40, 30)


def test_a_camera_jpeg_with_a_second_picture() -> None:
    data = encoded(red(), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    assert images.probe(data, LIMIT).media_type == "image/jpeg"
    assert near(images.decode(data, LIMIT).getpixel((5, 5)), RED)


def test_huge_exif_is_taken() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    assert images.probe(encoded(red(), "JPEG", exif=exif), LIMIT).width == 40


def test_an_inflating_text_chunk_is_bounded() -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("comment", "x" * 50_000_000, zip=True)
    data = encoded(red(), "PNG", pnginfo=chunks)
    assert len(data) < 200_000
    with contextlib.suppress(InvalidImage):  # refused is as good as bounded
        assert images.decode(data, LIMIT).size == (40, 30)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.95, 0.5, 0.2])
def test_truncated_pictures_are_refused(form: str, share: float) -> None:
    data = encoded(noise(), form)
    for look in (images.probe, images.decode):
        with pytest.raises(InvalidImage):
            look(data[: int(len(data) * share)], LIMIT)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (b"\x00" * 1000, "not an image"),
        (b"%PDF-1.4 and so on", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
    ],
)
def test_what_is_no_image(data: bytes, words: str) -> None:
    with pytest.raises(InvalidImage, match=words):
        images.probe(data, LIMIT)


@pytest.mark.parametrize("form", ["ICO", "PPM", "TGA", "ICNS", "PCX"])
def test_formats_outside_the_list_are_refused(form: str) -> None:
    with pytest.raises(InvalidImage, match="supported"):
        images.probe(encoded(red(size=(64, 64)), form), LIMIT)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_size_is_checked_before_decoding(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(red(size=(101, 100)), form)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InvalidImage, match="101×100 pixels are more than the 10000"):
        images.probe(data, 10_000)


def test_limits_above_pillows_own_are_ours() -> None:
    data = encoded(Image.new("1", (20_000, 10_000)), "PNG")
    with pytest.raises(InvalidImage, match="20000×10000 pixels are more than"):
        images.probe(data, 199_999_999)
    assert images.probe(data, 200_000_000).width == 20_000


def test_png_bytes_are_the_same_every_time_and_carry_the_recipe() -> None:
    recipe = {"kind": "blend", "seed": 7, "prompt": "دائرة حمراء\x00", "params": {"b": 1, "a": [2]}}
    first = images.encode_png(noise(), recipe)
    assert first == images.encode_png(noise(), dict(reversed(recipe.items())))
    assert images.read_recipe(first) == recipe
    assert images.decode(first, LIMIT).tobytes() == noise().tobytes()


def test_metadata_of_a_source_does_not_reach_the_png() -> None:
    image = noise()
    image.info = {"icc_profile": b"profile", "exif": b"Exif\x00\x00", "dpi": (1, 1), "comment": "x"}
    assert images.encode_png(image, {}) == images.encode_png(noise(), {})


def test_a_png_without_a_recipe() -> None:
    assert images.read_recipe(encoded(red(), "PNG")) is None
    with pytest.raises(InvalidImage):
        images.read_recipe(encoded(red(), "JPEG"))


@pytest.mark.parametrize(
    ("given", "options", "wanted"),
    [
        ((3000, 1500), {"longest": 1024}, (1024, 512)),
        ((20, 10), {"longest": 1024}, (20, 10)),
        ((5000, 2), {"longest": 100}, (100, 1)),
        ((3000, 1500), {"size": (64, 96)}, (64, 96)),
        ((20, 10), {"size": (64, 96)}, (64, 96)),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_comes_at_the_size_asked_for(
    given: tuple[int, int], options: Any, wanted: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(red(size=given), "PNG", exif=exif)
    turned = orientation == 6 and "longest" in options
    decoded = images.decode(data, 10**7, **options)
    assert decoded.size == (wanted[::-1] if turned else wanted)
    assert decoded.getextrema() == ((255, 255), (0, 0), (0, 0))


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_comes_is_a_plain_picture(alpha: bool, orientation: int) -> None:
    """It is sent to other processes: nothing of the file is to go with it."""
    given = noise().convert("RGBA") if alpha else noise()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(given, "PNG", exif=exif, icc_profile=b"profile", dpi=(1, 1))
    upright = given.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else given
    for size in (None, upright.size):
        decoded = images.decode(data, LIMIT, size=size, alpha=alpha)
        assert type(decoded) is Image.Image
        assert decoded.info == {}
        assert decoded.tobytes() == upright.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16", "F"])
def test_tiles_leave_no_seam(mode: str) -> None:
    """A picture of several tiles against the same one in one piece."""
    y, x = np.mgrid[0:1500, 0:2300]
    grey = ((np.sin(x / 300) + np.cos(y / 200)) * 60 + 128).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) << 8)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32))
    elif mode == "RGBA":
        image = Image.merge(
            "RGBA", [Image.fromarray(grey)] * 3 + [Image.new("L", (2300, 1500), 255)]
        )
    else:
        image = Image.fromarray(grey).convert(mode)
    data = encoded(image, "TIFF" if mode == "F" else "PNG")
    whole = Image.fromarray(grey).convert("RGB")
    assert images.decode(data, 10**7).tobytes() == whole.tobytes()
    small = np.asarray(images.decode(data, 10**7, size=(200, 130))).astype(int)
    wanted = np.asarray(whole.resize((200, 130), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(small - wanted).max() <= 2
