"""How well a middle is reconstructed, beside two ways to fill it without a network."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workers.nets.panorama.generator import Generator
from workers.panorama.stitching import meeting
from workers.training.panorama.pictures import Pictures
from workers.training.panorama.samples import tensor

BAND = 8  # a seam's band is the eighth of the middle that is next to it
BATCH = 16

Fill = Callable[[Tensor, Tensor], Tensor]
"""From two sides (n, 3, h, w) to the middle between them, all in [0, 1]."""


def generated(generator: Generator, left: Tensor, right: Tensor) -> Tensor:
    """The generator's middle."""
    with torch.inference_mode():
        return generator(left, right).image.chunk(3, dim=-1)[1]


def cross_fade(left: Tensor, right: Tensor) -> Tensor:
    """The two innermost columns, faded linearly into each other."""
    width = left.shape[-1]
    share = (torch.arange(width).to(left) + 0.5) / width
    return (1 - share) * left[..., -1:] + share * right[..., :1]


def mirrored(left: Tensor, right: Tensor) -> Tensor:
    """Each side mirrored into its half."""
    half = left.shape[-1] // 2
    return torch.cat([left.flip(-1)[..., :half], right.flip(-1)[..., half:]], -1)


def at_full_height(drawn: Fill, left: Tensor, right: Tensor) -> Tensor:
    """What was drawn, as a job puts it between the whole pictures: it meets their columns."""
    parts = (drawn(left, right), left[..., -1:], right[..., :1])
    pictures = zip(*(part.permute(0, 2, 3, 1).numpy() for part in parts), strict=True)
    met = [meeting(middle, ours[:, 0], theirs[:, 0]) for middle, ours, theirs in pictures]
    return torch.from_numpy(np.stack(met)).to(left).permute(0, 3, 1, 2).clamp(0, 1)


def fills(drawn: Fill) -> Mapping[str, Fill]:
    """The generator's middle, the same in a panorama at full height, and the two baselines, by
    their names in a report."""
    return {
        "generator": drawn,
        "full height": partial(at_full_height, drawn),
        "cross-fade": cross_fade,
        "mirrored": mirrored,
    }


class Errors:
    """The mean errors of ways to fill a middle, over all panoramas that were added."""

    def __init__(self, ways: Mapping[str, Fill]) -> None:
        self._ways = ways
        self._sums: dict[str, dict[str, float]] = {name: defaultdict(float) for name in ways}
        self._count = 0

    def add(self, true: Tensor) -> None:
        """Panoramas (n, 3, h, 3w) in [0, 1]."""
        left, _, right = true.chunk(3, dim=-1)
        for name, way in self._ways.items():
            for measure, error in errors(way(left, right), true).items():
                self._sums[name][measure] += error * len(true)
        self._count += len(true)

    def means(self) -> dict[str, dict[str, float]]:
        """By way and measure."""
        return {
            name: {measure: total / self._count for measure, total in sums.items()}
            for name, sums in self._sums.items()
        }


def measured(pictures: Pictures, ways: Mapping[str, Fill]) -> dict[str, dict[str, float]]:
    """By way and measure, the mean errors over the centre crops of all pictures."""
    errors = Errors(ways)
    for true in _panoramas(pictures):
        errors.add(true)
    return errors.means()


def errors(middle: Tensor, true: Tensor) -> dict[str, float]:
    """Mean absolute errors of middles (n, 3, h, w) between the sides of the true (n, 3, h, 3w).

    `pixel` is of values in [0, 1], `gradient` of differences between neighbours, down and across;
    at the seams the differences to the sides count too.
    """
    width = middle.shape[-1]
    band = width // BAND
    left, _, right = true.chunk(3, dim=-1)
    made = torch.cat([left, middle, right], -1)
    wrong = made - true
    pixel, down = _by_column(wrong), _by_column(wrong.diff(dim=-2))
    across = _by_column(wrong.diff(dim=-1))  # at i between the columns i and i + 1
    regions = {
        "middle": [(width, 2 * width)],
        "seams": [(width, width + band), (2 * width - band, 2 * width)],
    }
    found = {}
    for name, spans in regions.items():
        inner = torch.cat([torch.arange(*span) for span in spans])
        steps = torch.cat([torch.arange(first - 1, last) for first, last in spans])
        found[f"pixel, {name}"] = pixel[inner].mean().item()
        gradient = (down[inner].mean() + across[steps].mean()) / 2
        found[f"gradient, {name}"] = gradient.item()
    return found


def sheet(pictures: Pictures, ways: Mapping[str, Fill], rows: int = 4) -> Image.Image:
    """A picture of panoramas: each row a scene as it is, then with every way's middle."""
    lines = []
    for true in _panoramas(pictures, rows):
        left, _, right = true.chunk(3, dim=-1)
        made = [torch.cat([left, way(left, right), right], -1) for way in ways.values()]
        lines.append(torch.cat([true, *made], -1))
    return stacked(torch.cat(lines)[:rows])


def stacked(rows: Tensor) -> Image.Image:
    """Pictures (n, 3, h, w) in [0, 1], one below the other."""
    pixels = rows.permute(0, 2, 3, 1).flatten(0, 1)
    return Image.fromarray((pixels * 255).round().byte().numpy())


def _panoramas(pictures: Pictures, count: int | None = None) -> Iterable[Tensor]:
    """The centre crops (n, 3, h, 3w) in batches."""
    numbers = torch.arange(len(pictures) if count is None else min(count, len(pictures)))
    for some in numbers.split(BATCH):
        yield tensor([pictures.crop(number) for number in some.tolist()])


def _by_column(difference: Tensor) -> Tensor:
    return difference.abs().mean((0, 1, 2))
