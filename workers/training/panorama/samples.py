"""Batches of training: a pure function of the seed and of the place in the training.

So a training that goes on after a stop sees what it would have seen without one, and several
processes see parts of the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidRequest
from workers.training.panorama.pictures import Pictures
from workers.training.panorama.stages import Stage

Array = np.ndarray

RECONSTRUCTED, PAIRED, OTHERS, REAL = range(4)  # what a picture is drawn for


class Batch(NamedTuple):
    """Pictures in [0, 1], float32; of n samples the first m have a known middle."""

    left: Tensor  # (n, 3, size, size)
    right: Tensor  # (n, 3, size, size)
    middle: Tensor  # (m, 3, size, size)
    real: Tensor  # (n, 3, size, 3·size), for the discriminator

    def to(self, device: str) -> "Batch":
        return Batch(*(part.to(device, non_blocking=True) for part in self))


@dataclass(frozen=True)
class Samples:
    """The batches of a stage.

    neighbours: (pictures, k), for each picture the numbers of those that may be its right side
    where the sides differ; without it any other picture may.
    rank, world: which part of each batch to make, of how many.
    Raises InvalidRequest where the pictures are fewer than a batch takes.
    """

    pictures: Pictures
    stage: Stage
    seed: int = 0
    neighbours: Array | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if len(self.pictures) < self.stage.batch:
            raise InvalidRequest(
                f"there are {len(self.pictures)} pictures, and a batch takes {self.stage.batch}"
            )
        if self.stage.reconstructed % self.world or self.stage.pairs % self.world:
            raise InvalidRequest(
                f"{self.stage.reconstructed} reconstructed samples and {self.stage.pairs} pairs "
                f"cannot be shared out evenly among {self.world} devices"
            )

    @property
    def batches(self) -> int:
        """Of an epoch; pictures that do not fill one have their turn in another epoch."""
        return len(self.pictures) // self.stage.reconstructed

    def batch(self, epoch: int, number: int) -> Batch:
        whole = [
            self._crop(epoch, number, RECONSTRUCTED, slot, index)
            for slot, index in self._turn(epoch, number, RECONSTRUCTED, self.stage.reconstructed)
        ]
        middle = [_part(crop, 1) for crop in whole]
        left = [_part(crop, 0) for crop in whole]
        right = [_part(crop, 2) for crop in whole]
        for slot, index in self._turn(epoch, number, PAIRED, self.stage.pairs):
            rng = self._rng(epoch, number, OTHERS, slot)
            other = partner(rng, index, len(self.pictures), self.neighbours)
            left.append(_part(self._crop(epoch, number, PAIRED, slot, index), 0))
            right.append(_part(self._crop(epoch, number, OTHERS, slot, other), 2))
        real = whole + [
            self._crop(epoch, number, REAL, slot, index)
            for slot, index in self._turn(epoch, number, REAL, self.stage.pairs)
        ]
        return Batch(tensor(left), tensor(right), tensor(middle), tensor(real))

    def _turn(self, epoch: int, number: int, purpose: int, count: int) -> list[tuple[int, int]]:
        """Whose turn it is: slots of the batch, with their pictures; of these our part."""
        if not count:
            return []
        order = self._rng(epoch, 0, purpose).permutation(len(self.pictures))
        turn = order.take(range(number * count, (number + 1) * count), mode="wrap")
        return list(enumerate(turn.tolist()))[self.rank :: self.world]

    def _crop(self, epoch: int, number: int, purpose: int, slot: int, index: int) -> Array:
        return self.pictures.crop(index, self._rng(epoch, number, purpose, slot + 1))

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *place])


def partner(
    rng: np.random.Generator, index: int, count: int, neighbours: Array | None = None
) -> int:
    """Another one of so many pictures, or one of this one's neighbours."""
    if neighbours is not None:
        return int(rng.choice(neighbours[index]))
    return int(index + rng.integers(1, count)) % count


def tensor(pictures: Sequence[Array]) -> Tensor:
    """uint8 pictures (h, w, 3) as one float32 tensor (n, 3, h, w) in [0, 1]."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.to(torch.float32, memory_format=torch.contiguous_format) / 255


def _part(crop: Array, number: int) -> Array:
    """The left, middle or right third."""
    width = crop.shape[1] // 3
    return crop[:, number * width : (number + 1) * width]
