"""Files that a picture service must survive: each made here, small on the wire."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

from PIL import Image


def _encoded(form: str, side: int = 64, **options: object) -> bytes:
    data = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(data, form, **options)
    return data.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width: int, height: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG of one-bit grey pixels with the given (compressed) rows and extra chunks."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [_chunk(b"IHDR", head), *extra, _chunk(b"IDAT", rows), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _bomb() -> bytes:
    """30,000 × 30,000 pixels, which compress to a few kilobytes."""
    side = 30_000
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return _png(side, side, rows)


def _blank(side: int) -> bytes:
    """A white square that is as large as it says."""
    return _png(side, side, zlib.compress((b"\x00" + b"\xff" * ((side + 7) // 8)) * side, 9))


def _inflating_text() -> bytes:
    """A text chunk that grows from 200 kB to 200 MB."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    rows = zlib.compress(b"\x00\xff" * 8)
    return _png(8, 8, rows, _chunk(b"zTXt", b"Comment\x00\x00" + text))


def _promised(width: int, height: int) -> bytes:
    """A GIF header that promises far more pixels than follow."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + b";"


def _tiff_loop() -> bytes:
    """A TIFF whose first directory follows itself."""
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<HI", 0, 8)


def _frames(number: int) -> bytes:
    data = io.BytesIO()
    frames = [Image.new("L", (64, 64), i % 256) for i in range(number)]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


def _with_exif(size: int) -> bytes:
    exif = Image.Exif()
    exif[0x9286] = b"x" * size  # UserComment
    exif[0x0112] = 6
    return _encoded("JPEG", exif=exif.tobytes())


def _polyglot() -> bytes:
    """A picture that is a ZIP archive and a page as well."""
    tail = io.BytesIO()
    with zipfile.ZipFile(tail, "w") as archive:
        archive.writestr("../../evil.html", "<script>alert(1)</script>")
    return _encoded("PNG") + b"<html><script>alert(1)</script></html>" + tail.getvalue()


def _cut(form: str) -> Callable[[], bytes]:
    def cut() -> bytes:
        whole = _encoded(form)
        return whole[: len(whole) // 2]

    return cut


REFUSED: dict[str, Callable[[], bytes]] = {
    "pixel bomb": _bomb,
    "a promise of 4,294,836,225 pixels": lambda: _promised(65_535, 65_535),
    "directory that follows itself": _tiff_loop,
    "PNG cut in half": _cut("PNG"),
    "JPEG cut in half": _cut("JPEG"),
    "WebP cut in half": _cut("WEBP"),
    "GIF cut in half": _cut("GIF"),
    "nothing": lambda: b"",
    "text": lambda: b"not a picture\n" * 100,
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "PDF": lambda: b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n",
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "ZIP": lambda: _polyglot()[-200:],
    "PNG signature alone": lambda: b"\x89PNG\r\n\x1a\n",
}
"""No picture can be made of these."""

TAKEN: dict[str, Callable[[], bytes]] = {
    "polyglot": _polyglot,
    "animation of 2,000 frames": lambda: _frames(2000),
    "99,980,001 pixels": lambda: _blank(9_999),
    "60 kB of EXIF": lambda: _with_exif(60_000),
}
"""Odd, but a picture can be made of them."""

EITHER: dict[str, Callable[[], bytes]] = {"text that inflates": _inflating_text}
"""May be refused or taken; must do no harm."""
