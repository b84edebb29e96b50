"""Files that a training can go on from: its state, cut into parts that are not large."""

import io
from pathlib import Path

import torch

from workers.training.panorama.trainer import State, read

PART_BYTES = 64 * 2**20
PREFIX = "state-"


def write(state: State, folder: Path, done: int) -> list[Path]:
    """Write the state after so many batches, in place of the one before; the parts in order."""
    for path in folder.glob(f"{PREFIX}*"):
        path.unlink()
    with _Parts(folder, f"{PREFIX}{done:09}") as parts:
        torch.save(state, parts)  # type: ignore[arg-type]
    return parts.paths


def restore(saved: Path, folder: Path) -> State:
    """The state in a savepoint's folder, put together in another one.

    Raises OSError, RuntimeError or pickle.UnpicklingError where it is damaged.
    """
    whole = folder / "whole"
    try:
        with whole.open("wb") as file:
            for part in sorted(saved.glob(f"{PREFIX}*")):
                file.write(part.read_bytes())
        return read(whole)
    finally:
        whole.unlink(missing_ok=True)


class _Parts(io.RawIOBase):
    """A file to write to that becomes several, none larger than PART_BYTES."""

    def __init__(self, folder: Path, name: str) -> None:
        self.paths: list[Path] = []
        self._start = folder / name
        self._left = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        rest = memoryview(data).cast("B")
        while rest:
            if not self._left:
                number = len(self.paths)
                self.paths.append(self._start.with_name(f"{self._start.name}-{number:04}"))
                self._left = PART_BYTES
            with self.paths[-1].open("ab") as file:
                file.write(rest[: self._left])
            rest, self._left = rest[self._left :], max(0, self._left - len(rest))
        return memoryview(data).nbytes
