from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.errors import InvalidRequest
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import Samples
from workers.training.panorama.stages import FINETUNE, RECONSTRUCTION

SIZE = 8
SMALL = replace(FINETUNE, batch=8, pairs=4)


class Numbered:
    """Pictures that show nothing but their number, in another tone in each third."""

    size = SIZE

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def crop(self, index: int, rng: np.random.Generator | None = None) -> np.ndarray:
        thirds = np.repeat(np.arange(3, dtype=np.uint8), SIZE)
        return np.broadcast_to((10 * index + thirds)[:, None], (SIZE, 3 * SIZE, 3)).copy()


def told(pictures: torch.Tensor) -> list[tuple[int, int]]:
    """Which picture each of them is of, and which third."""
    values = (pictures[:, 0, 0, 0] * 255).round().int().tolist()
    return [divmod(value, 10) for value in values]


def test_a_reconstruction_is_of_one_picture() -> None:
    samples = Samples(Numbered(20), replace(RECONSTRUCTION, batch=6))
    batch = samples.batch(0, 0)
    numbers = [number for number, _ in told(batch.left)]
    assert told(batch.left) == [(number, 0) for number in numbers]
    assert told(batch.middle) == [(number, 1) for number in numbers]
    assert told(batch.right) == [(number, 2) for number in numbers]
    assert told(batch.real) == told(batch.left)
    assert batch.real.shape == (6, 3, SIZE, 3 * SIZE)


def test_an_epoch_shows_every_picture_once_and_each_in_another_order() -> None:
    samples = Samples(Numbered(20), replace(RECONSTRUCTION, batch=5))
    epochs = [
        [number for at in range(samples.batches) for number, _ in told(samples.batch(epoch, at)[0])]
        for epoch in (0, 1)
    ]
    assert [sorted(epoch) for epoch in epochs] == [list(range(20))] * 2
    assert epochs[0] != epochs[1]


def test_half_a_finetuning_batch_takes_its_sides_from_neighbours() -> None:
    near = np.array([[(i + 1) % 20, (i + 2) % 20] for i in range(20)])
    samples = Samples(Numbered(20), SMALL, neighbours=near)
    chosen = set()
    for at in range(samples.batches):
        batch = samples.batch(0, at)
        assert len(batch.middle) == 4
        assert len(batch.real) == len(batch.left) == 8
        for (left, _), (right, third) in zip(
            told(batch.left)[4:], told(batch.right)[4:], strict=True
        ):
            assert third == 2
            chosen.add((right - left) % 20)
    assert chosen == {1, 2}


def test_without_neighbours_the_other_side_is_of_any_other_picture() -> None:
    samples = Samples(Numbered(9), SMALL)
    steps = set()
    for epoch in range(20):
        batch = samples.batch(epoch, 0)
        pairs = zip(told(batch.left)[4:], told(batch.right)[4:], strict=True)
        steps |= {(right - left) % 9 for (left, _), (right, _) in pairs}
    assert steps == set(range(1, 9))


def test_a_batch_is_a_function_of_its_place() -> None:
    pictures = Landscapes(range(10), SIZE)
    first, again = Samples(pictures, SMALL).batch(3, 1), Samples(pictures, SMALL).batch(3, 1)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    other = Samples(pictures, SMALL, seed=1).batch(3, 1)
    assert not torch.equal(first.left, other.left)


def test_processes_share_out_the_batch_of_one() -> None:
    pictures = Landscapes(range(10), SIZE)
    whole = Samples(pictures, SMALL).batch(0, 0)
    parts = [Samples(pictures, SMALL, rank=rank, world=2).batch(0, 0) for rank in range(2)]
    for name in whole._fields:
        values = torch.cat([getattr(part, name) for part in parts])
        together = {value.numpy().tobytes() for value in values}
        assert together == {value.numpy().tobytes() for value in getattr(whole, name)}
        assert len(values) == len(getattr(whole, name))


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="3 pictures, and a batch takes 8"):
        Samples(Numbered(3), SMALL)
    with pytest.raises(InvalidRequest, match="shared out evenly among 3 devices"):
        Samples(Numbered(20), SMALL, world=3)
