"""Files that a run can go on from, between two steps of L-BFGS, with the same result bit for bit.

L-BFGS remembers up to a hundred pairs of vectors, 6 MB each at 512², so a savepoint adds to the
one before: pairs and pieces of the video go into parts that are written once and named by their
range, such as `first_pass-pairs-000040-000049`; and a small head says all the rest, and which
parts it needs. Everything is safetensors.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared import logs
from workers.compositing.lbfgs import HISTORY, Lbfgs, Pair
from workers.compositing.run import FIRST, Run

log = logs.get(__name__)

HEAD, VIDEO, SUFFIX = "head", "video", ".safetensors"
PART_BYTES = 64 * 2**20
VECTORS = ("point", "move", "gradient", "scale")  # of an Lbfgs
PAIR = tuple(entry.name for entry in fields(Pair))
NUMBERS = ("left", "recorded", "moved", "converged")  # of an Lbfgs
NAME = re.compile(r"(?P<kind>[a-z_-]+)-(?P<start>\d{6})-(?P<last>\d{6})\.safetensors")


@dataclass(frozen=True)
class Part:
    """The entries of one kind from `start` to before `stop`, in a file."""

    path: Path
    kind: str
    start: int
    stop: int

    @classmethod
    def at(cls, path: Path) -> "Part":
        """A part by its name. Raises ValueError for another file."""
        match = NAME.fullmatch(path.name)
        if not match:
            raise ValueError(f"{path.name} is no part of a savepoint")
        return cls(path, match["kind"], int(match["start"]), int(match["last"]) + 1)


class Savepoint:
    """The newest savepoint of a run; it begins with the one that the run went on from, if any."""

    def __init__(self, folder: Path) -> None:
        """New files are made in this folder, which nobody else writes to."""
        self._folder = folder
        self._parts: list[Part] = []
        self._head: Path | None = None

    def write(self, run: Run) -> list[Path]:
        """All files of a savepoint of the run as it is, which is between two steps."""
        assert run.lbfgs
        self._add_pairs(run.at, run.lbfgs)
        written = max((part.stop for part in self._parts if part.kind == VIDEO), default=0)
        if written < len(run.segments):
            segments = {
                str(number): torch.frombuffer(bytearray(run.segments[number]), dtype=torch.uint8)
                for number in range(written, len(run.segments))
            }
            self._add(VIDEO, written, len(run.segments), segments)
        head = self._folder / f"{HEAD}-{run.at}-{len(run.curves[run.at]):06}{SUFFIX}"
        if not self._head or self._head.name != head.name:
            _save_head(head, run, self._parts)
            self._drop(self._head)
            self._head = head
        return [self._head, *(part.path for part in self._parts)]

    def read(self, saved: Path, run: Run) -> None:
        """Put a fresh run where the savepoint in a folder was made. One that is damaged, or of
        other settings, is left: then the run begins anew."""
        try:
            (head,) = saved.glob(f"{HEAD}-*")
            with safe_open(head, "pt") as file:
                state = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if state["settings"] != run.settings:
                raise ValueError("it has other settings")
            parts = [Part.at(saved / name) for name in state["parts"]]
            segments = [
                bytes(content[str(number)].numpy())
                for part, content in _contents(parts, VIDEO)
                for number in range(part.start, part.stop)
            ]
            lbfgs = _restored(state, tensors, parts, run.scene.target.device)
            if len(segments) != state["segments"]:
                raise ValueError("a piece of the video is missing")
        except Exception as error:  # whatever a damaged file makes of its reader
            log.warning("a savepoint cannot be used", error=str(error) or type(error).__name__)
            return
        run.at, run.lbfgs, run.curves, run.segments = state["at"], lbfgs, state["curves"], segments
        if FIRST in tensors:
            run.pictures[FIRST] = Image.fromarray(tensors[FIRST].numpy())
        self._head, self._parts = head, parts

    def _add_pairs(self, at: str, lbfgs: Lbfgs) -> None:
        """Write the pairs that are new, and let go of what is forgotten by now."""
        kind, oldest = f"{at}-pairs", lbfgs.recorded - len(lbfgs.pairs)
        for part in list(self._parts):
            if part.kind not in (kind, VIDEO) or (part.kind == kind and part.stop <= oldest):
                self._parts.remove(part)
                self._drop(part.path)
        start = max([oldest, *(part.stop for part in self._parts if part.kind == kind)])
        length = max(1, PART_BYTES // (2 * lbfgs.point.nbytes))
        for first in range(start, lbfgs.recorded, length):
            stop = min(first + length, lbfgs.recorded)
            tensors = {
                f"{number}.{name}": getattr(lbfgs.pairs[number - oldest], name)
                for number in range(first, stop)
                for name in PAIR
            }
            self._add(kind, first, stop, tensors)

    def _add(self, kind: str, start: int, stop: int, tensors: Mapping[str, Tensor]) -> None:
        path = self._folder / f"{kind}-{start:06}-{stop - 1:06}{SUFFIX}"
        save_file(dict(tensors), path)
        self._parts.append(Part(path, kind, start, stop))

    def _drop(self, path: Path | None) -> None:
        if path and path.parent == self._folder:  # else another has put it there
            path.unlink()


def _save_head(path: Path, run: Run, parts: Sequence[Part]) -> None:
    lbfgs = run.lbfgs
    assert lbfgs
    tensors = {name: getattr(lbfgs, name) for name in VECTORS}
    if FIRST in run.pictures:
        tensors[FIRST] = torch.from_numpy(np.array(run.pictures[FIRST]))
    state = {
        "settings": run.settings,
        "at": run.at,
        "curves": run.curves,
        "segments": len(run.segments),
        "parts": [part.path.name for part in parts],
        "lbfgs": {name: getattr(lbfgs, name) for name in NUMBERS},
    }
    save_file(tensors, path, {"state": json.dumps(state)})


def _restored(
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    parts: Iterable[Part],
    device: torch.device,
) -> Lbfgs:
    # Copies: what a file was read into may be aligned otherwise, and then dot products on a CPU
    # may be summed in another order.
    pairs = deque(
        (
            Pair(*(content[f"{number}.{name}"].clone().to(device) for name in PAIR))
            for part, content in _contents(parts, f"{state['at']}-pairs")
            for number in range(part.start, part.stop)
        ),
        maxlen=HISTORY,
    )
    known: dict[str, Any] = {name: tensors[name].clone().to(device) for name in VECTORS}
    lbfgs = Lbfgs(pairs=pairs, **known, **state["lbfgs"])
    if len(pairs) != min(lbfgs.recorded, HISTORY):
        raise ValueError("pairs are missing")
    return lbfgs


def _contents(parts: Iterable[Part], kind: str) -> Iterator[tuple[Part, dict[str, Tensor]]]:
    """The parts of a kind, in order, with what they hold."""
    for part in sorted(parts, key=lambda part: part.start):
        if part.kind == kind:
            yield part, load_file(part.path)
