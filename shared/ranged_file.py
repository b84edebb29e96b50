"""An object in S3 as a file to look around in: what is skipped is not fetched."""

import io
from collections.abc import Callable

from shared.errors import InvalidArchive

BLOCK = 2**20  # bytes that are fetched at once: a small skip costs no request of its own


class RangedFile(io.RawIOBase):
    """`size` bytes, of which `read_range(offset, size)` fetches any. One block is in memory.

    It is for the headers of archives: a read of more than a block, of a length that a damaged
    one claims, raises InvalidArchive.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self.size = size
        self._read_range = read_range
        self._place = self._start = 0
        self._block = b""

    def read(self, size: int = -1) -> bytes:
        end = min(self._place + size, self.size) if size >= 0 else self.size
        if end - self._place > BLOCK:
            raise InvalidArchive(f"a header of it has more than {BLOCK} bytes")
        found = self._held(end)
        while len(found) < end - self._place:
            self._start = self._place + len(found)
            self._block = self._read_range(self._start, min(BLOCK, self.size - self._start))
            if not self._block:
                raise InvalidArchive("it is shorter than it was")
            found += self._block[: end - self._start]
        self._place += len(found)
        return found

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = max(0, base + place)
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _held(self, end: int) -> bytes:
        """What the block has from this place on."""
        if not self._start <= self._place < self._start + len(self._block):
            return b""
        return self._block[self._place - self._start : end - self._start]
