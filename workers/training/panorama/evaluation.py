"""A model evaluated on pictures that it was not trained on.

What it draws between two pictures is compared as in the paper: the middle two thirds of all
panoramas with random crops of the pictures, by FID and KID. Middles that are known are compared
pixel by pixel, beside two ways to fill them without a network.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workers.nets.panorama.generator import Generator
from workers.training.panorama.evaluate import Errors, fills, generated, stacked
from workers.training.panorama.features import Features
from workers.training.panorama.pictures import Pictures
from workers.training.panorama.samples import partner, tensor

Array = np.ndarray

AT_LEAST = 2  # pictures: sets of one have no spread
AT_ONCE = 8  # pictures in a network
ROWS = 4  # of the sheet
PAIR, REAL = range(2)  # what a picture is drawn for


class Evaluation:
    """Of a generator, on some pictures, each of them the left one of a pair.

    neighbours: (pictures, k), the numbers of those that may be its right one; without it any other
    picture may, and both are cropped at random in place of their centres.
    """

    def __init__(
        self,
        generator: Generator,
        features: Features,
        pictures: Pictures,
        neighbours: Array | None,
        seed: int,
        both_orders: bool,
    ) -> None:
        self._generator = generator
        self._device = next(generator.parameters()).device
        self._features = features
        self._pictures = pictures
        self._neighbours = neighbours
        self._seed = seed
        self._both_orders = both_orders
        self._errors = Errors(fills(self._fill))
        self._real: list[Tensor] = []
        self._generated: list[Tensor] = []
        self._shown: list[Tensor] = []

    def run(self) -> Iterator[int]:
        """Look at every picture; yields how many were looked at so far."""
        count = len(self._pictures)
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, count))
            self._errors.add(tensor([self._pictures.crop(number) for number in numbers]))
            self._real.append(self._seen(tensor([self._crop(number) for number in numbers])))
            drawn = self._draw([self._pair(number) for number in numbers])
            self._generated += [self._seen(central(each)) for each in drawn]
            if not self._shown:
                self._shown = drawn
            yield numbers.stop

    def about(self) -> dict[str, Any]:
        """What was found, in numbers."""
        from workers.training.panorama.distances import distances  # takes long to import

        real, drawn = torch.cat(self._real), torch.cat(self._generated)
        return {
            **distances(real, drawn, self._seed),
            "features": self._features.name,
            "real": len(real),
            "generated": len(drawn),
            "reconstruction": self._errors.means(),
        }

    def sheet(self) -> Image.Image:
        """Some of the panoramas, one below the other, beside them those in the other order."""
        return stacked(torch.cat(self._shown, -1)[:ROWS].cpu())

    def _pair(self, number: int) -> tuple[Array, Array]:
        """Crops (size, 3·size, 3) of a picture and of what goes with it."""
        rng = self._rng(number, PAIR)
        other = partner(rng, number, len(self._pictures), self._neighbours)
        crops = rng if self._neighbours is None else None
        return self._pictures.crop(number, crops), self._pictures.crop(other, crops)

    def _crop(self, number: int) -> Array:
        """A random crop (size, 2·size, 3) of a picture."""
        rng, size = self._rng(number, REAL), self._pictures.size
        start = rng.integers(size + 1)
        return self._pictures.crop(number, rng)[:, start : start + 2 * size]

    @torch.inference_mode()
    def _draw(self, pairs: list[tuple[Array, Array]]) -> list[Tensor]:
        """Panoramas (n, 3, size, 3·size) of the pairs, and of the pairs turned round.

        Their values are those that a file has, 256 different ones.
        """
        ones, others = (tensor([*crops]).to(self._device) for crops in zip(*pairs, strict=True))
        orders = [(ones, others), (others, ones)] if self._both_orders else [(ones, others)]
        drawn = [
            self._generator(left.chunk(3, dim=-1)[0], right.chunk(3, dim=-1)[2]).image
            for left, right in orders
        ]
        return [(each * 255).round() / 255 for each in drawn]

    def _fill(self, left: Tensor, right: Tensor) -> Tensor:
        return generated(self._generator, left.to(self._device), right.to(self._device)).cpu()

    def _seen(self, pictures: Tensor) -> Tensor:
        return self._features.of(pictures.to(self._device)).cpu()

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *place])


def central(panoramas: Tensor) -> Tensor:
    """Of panoramas (n, 3, h, 3w) the middle (n, 3, h, 2w)."""
    width = panoramas.shape[-1] // 3
    return panoramas[..., width // 2 : width // 2 + 2 * width]
