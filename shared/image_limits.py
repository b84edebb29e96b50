"""Limits on a picture's metadata, checked before Pillow opens it.

Pillow bounds text chunks and colour profiles itself. Of numbers, though, it makes objects, which
take 20 times the memory of the file's bytes and seconds for each million.
"""

import struct
from contextlib import suppress

from shared.errors import InvalidImage

MAX_EXIF_BLOCKS = 16  # of 64 kB each; a camera writes one
MAX_NUMBERS = 2**18  # in one entry of a TIFF's directory; enough for the places of all rows
MAX_DIRECTORIES = 8
POINTERS = {34665, 34853, 40965}  # tags whose value is the place of a directory
PLACES = {4: "I", 13: "I"}  # formats of a place by an entry's type
PLACES_64 = {**PLACES, 16: "Q", 18: "Q"}
BYTES = {1, 2, 6, 7}  # types of entries that stay bytes


def check_metadata(data: bytes) -> None:
    """Raises InvalidImage. Damage is left for Pillow to find."""
    if data.startswith(b"\xff\xd8") and data.count(b"Exif\x00\x00") > MAX_EXIF_BLOCKS:
        raise InvalidImage("the image has too much EXIF")
    if data.startswith((b"II", b"MM")):
        _check_tiff(data)


def _check_tiff(data: bytes) -> None:
    """The first directory and those that it points to, each as far as it is there."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:3] == b"+"
    pending: list[int] = []
    with suppress(struct.error):
        pending += struct.unpack_from(order + ("8xQ" if big else "4xI"), data)
    for number, start in enumerate(pending, 1):
        if number > MAX_DIRECTORIES:
            raise InvalidImage("the image has too many directories")
        with suppress(struct.error, OverflowError):
            _check_directory(data, start, order, big, pending)


def _check_directory(data: bytes, start: int, order: str, big: bool, pending: list[int]) -> None:
    """Adds what the directory points to. Raises struct.error, OverflowError past the end."""
    count, entry, places = ("Q", "HHQ", PLACES_64) if big else ("H", "HHI", PLACES)
    head, step = struct.calcsize(order + entry), 20 if big else 12
    (entries,) = struct.unpack_from(order + count, data, start)
    begin = start + struct.calcsize(order + count)
    for at in range(begin, min(begin + entries * step, len(data)), step):
        tag, kind, numbers = struct.unpack_from(order + entry, data, at)
        if kind not in BYTES and numbers > MAX_NUMBERS:
            raise InvalidImage(f"the image has {numbers} numbers in one entry")
        if tag in POINTERS:
            if kind not in places or numbers != 1:
                raise InvalidImage("the image points to a directory in an unknown way")
            pending += struct.unpack_from(order + places[kind], data, at + head)
