"""Files made to hurt: each is refused, or taken at the price of an honest one."""

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared import images
from shared.errors import InvalidImage
from tests import hostile

LIMIT = 1_000_000
RED = Image.new("RGB", (40, 30), "red")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def directory(*entries: tuple[int, int, int, bytes], at: int = 8) -> bytes:
    """A little-endian TIFF directory of (tag, type, count, value)."""
    head, values = struct.pack("<H", len(entries)), b""
    behind = at + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if len(value) > 4:
            value, values = struct.pack("<I", behind + len(values)), values + value
        head += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return head + bytes(4) + values


FRACTIONS = 1_000_000
MANY = (0x011A, 5, FRACTIONS, struct.pack("<II", 72, 7) * FRACTIONS)  # XResolution
TIFF = b"II*\0\x08\0\0\0"


def grey_tiff(*more: tuple[int, int, int, bytes]) -> bytes:
    one, eight = struct.pack("<H", 1), struct.pack("<H", 8)
    sizes = [(tag, 3, 1, eight) for tag in (256, 257, 258, 278)]
    places = [
        (tag, 3, 1, value) for tag, value in ((259, one), (262, one), (277, one), (273, eight))
    ]
    return TIFF + directory(*sizes, *places, (279, 3, 1, struct.pack("<H", 64)), *more)


def jpeg_with_exif(exif: bytes) -> bytes:
    parts = (exif[at : at + 65_000] for at in range(0, len(exif), 65_000))
    blocks = (b"Exif\0\0" + part for part in parts)
    header = b"".join(b"\xff\xe1" + struct.pack(">H", len(each) + 2) + each for each in blocks)
    plain = encoded(RED, "JPEG")
    return plain[:2] + header + plain[20:]  # without its JFIF block


def nested_tiff() -> bytes:
    """The numbers stand in a directory that the first one points to, past a broken one."""
    bad, good = struct.pack("<I", 0xFFFFFFF0), struct.pack("<I", 1000)
    outer = grey_tiff((34665, 4, 1, bad), (34853, 4, 1, good))
    return outer.ljust(1000, b"\0") + directory(MANY, at=1000)


def too_many_numbers() -> dict[str, bytes]:
    return {
        "TIFF": grey_tiff(MANY),
        "TIFF, places of strips": grey_tiff((273, 4, FRACTIONS, struct.pack("<I", 8) * FRACTIONS)),
        "TIFF, in a directory below": nested_tiff(),
        "JPEG": jpeg_with_exif(TIFF + directory(MANY)),
    }


@pytest.mark.parametrize(
    "name", ["TIFF", "TIFF, places of strips", "TIFF, in a directory below", "JPEG"]
)
def test_a_metadata_bomb_is_refused(name: str) -> None:
    with pytest.raises(InvalidImage, match=r"numbers in one entry|too much EXIF"):
        images.probe(too_many_numbers()[name], LIMIT)


def test_metadata_within_reason_is_taken() -> None:
    few = (0x011A, 5, 1, struct.pack("<II", 72, 1))
    assert images.probe(grey_tiff(few), LIMIT).width == 8
    assert images.probe(jpeg_with_exif(TIFF + directory(few)), LIMIT).width == 40


def gif_with_a_frame_beyond_its_canvas() -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame


def bombs(side: int = 15_000) -> dict[str, bytes]:
    """Far more pixels than the limit, in few bytes."""
    one_bit, colour = Image.new("1", (side, side)), Image.new("RGB", (8000, 8000))
    return {
        "PNG": encoded(one_bit, "PNG"),
        "GIF": encoded(one_bit, "GIF"),
        "TIFF": encoded(one_bit, "TIFF", compression="group4"),
        "JPEG": encoded(one_bit.convert("L"), "JPEG"),
        "WebP": encoded(colour, "WEBP", lossless=True, method=0),
        "GIF, frame beyond the canvas": gif_with_a_frame_beyond_its_canvas(),
    }


DECODE_ALL = """
import json, sys
from pathlib import Path
from shared import images
from shared.errors import InvalidImage

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000

images.decode(Path(sys.argv[1], "first").read_bytes(), 10**6)  # what Pillow loads, it loads now
before, told = peak(), {}
for file in sorted(Path(sys.argv[1]).iterdir()):
    for look in (images.probe, lambda *given: images.decode(*given, longest=512)):
        try:
            look(file.read_bytes(), 25_000_000)
            told[file.name] = "taken"
        except InvalidImage:
            told[file.name] = "refused"
print(json.dumps([peak() - before, told]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hostile_files_take_no_more_memory_than_an_honest_one(tmp_path: Path) -> None:
    """At a limit of 25 megapixels, and 16 bytes for each in the worst case (WebP): 400 MB."""
    refused = {**bombs(), **too_many_numbers()}
    refused |= {name: make() for name, make in hostile.REFUSED.items()}
    taken = {name: make() for name, make in hostile.TAKEN.items() if "99,980,001" not in name}
    taken["large WebP"] = encoded(Image.new("RGB", (5000, 5000)), "WEBP", lossless=True, method=0)
    taken["large PNG"] = encoded(Image.new("RGBA", (5000, 5000)), "PNG")
    either = {name: make() for name, make in hostile.EITHER.items()}
    either["profile"] = encoded(RED, "PNG", icc_profile=bytes(100_000_000))
    names = {}
    for number, (name, data) in enumerate({**refused, **taken, **either}.items()):
        names[str(number)] = name
        (tmp_path / str(number)).write_bytes(data)
    (tmp_path / "first").write_bytes(encoded(RED, "PNG"))
    done = subprocess.run(
        [sys.executable, "-c", DECODE_ALL, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    grown, told = json.loads(done.stdout)
    answers = {names[number]: answer for number, answer in told.items() if number in names}
    assert {name for name in refused if answers[name] != "refused"} == set()
    assert {name for name in taken if answers[name] != "taken"} == set()
    assert grown < 25 * 16 + 100
