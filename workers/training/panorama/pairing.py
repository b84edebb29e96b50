"""Which pictures go together: the nearest ones by a learned perceptual distance.

Zhang, Isola, Efros, Shechtman, Wang: "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018, https://arxiv.org/abs/1801.03924 (LPIPS), with VGG16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from shared.errors import ModelNotAvailable
from workers.nets import weights
from workers.nets.lpips import TAPS, Heads
from workers.training.panorama.pictures import Pictures
from workers.training.panorama.samples import tensor

Array = np.ndarray

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NEIGHBOURS = 3
TO_ITSELF = 1.0  # in place of 0, so that nothing is its own neighbour
AT_ONCE = 8  # pictures in the network


@dataclass(frozen=True)
class Distance:
    """The distance of `network`'s features, unit vectors at each location.

    heads: by tap, how much each channel counts; `name` says where they come from.
    """

    network: nn.Module
    heads: Mapping[int, Tensor]
    name: str

    def matrix(self, pictures: Pictures, block: int = 64) -> Tensor:
        """(n, n) float32 between the centre crops of all pictures, 1 on the diagonal.

        The distance is a squared Euclidean one between scaled features, so that a block of
        pairs takes one matrix product. Held are all crops, 3 bytes a pixel, and the features of
        two blocks, 488 bytes a pixel.
        """
        crops = np.stack([pictures.crop(number) for number in range(len(pictures))])
        starts = range(0, len(crops), block)
        found = torch.zeros(len(crops), len(crops))
        for top in starts:
            ours = self._embedded(crops[top : top + block])
            for left in starts[top // block :]:
                theirs = ours if left == top else self._embedded(crops[left : left + block])
                apart = _apart(ours, theirs).cpu()
                found[top : top + block, left : left + block] = apart
                found[left : left + block, top : top + block] = apart.T
        return found.fill_diagonal_(TO_ITSELF)

    @torch.inference_mode()
    def embedded(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) in [0, 1] as points (n, d) whose squared distances are ours."""
        parts = []
        found = self.network(normalised(pictures), list(self.heads))
        for features, head in zip(found, self.heads.values(), strict=True):
            scale = (head.to(features) / features[0, 0].numel()).sqrt().view(-1, 1, 1)
            parts.append((normalize(features, dim=1, eps=1e-10) * scale).flatten(1))
        return torch.cat(parts, 1)

    def _embedded(self, crops: Array) -> Tensor:
        device = next(self.network.parameters()).device
        parts = np.split(crops, range(AT_ONCE, len(crops), AT_ONCE))
        return torch.cat([self.embedded(tensor([*part]).to(device)) for part in parts])


def normalised(pictures: Tensor) -> Tensor:
    """Pictures (n, 3, h, w) in [0, 1] as a network of ImageNet takes them."""
    mean, deviation = (torch.tensor(each).view(3, 1, 1).to(pictures) for each in (MEAN, DEVIATION))
    return (pictures - mean) / deviation


def neighbours(matrix: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """(n, count): for each picture the numbers of the nearest others, the nearest first."""
    return matrix.topk(min(count, len(matrix) - 1), largest=False).indices


def distance(network: nn.Module, heads: Path | None = None) -> Distance:
    """The published distance, or one in which all channels count alike.

    network: a VGG16 up to relu5_3 at least.
    heads: the folder with the weights of LPIPS v0.1 for the channels. Raises ModelNotAvailable
    where it holds something else.
    """
    if heads is None:
        equal = {tap: torch.ones(channels) for tap, channels in TAPS.items()}
        return Distance(network, equal, "VGG16 features, all channels alike")
    published = Heads()
    weights.load(published, heads)
    if any((head < 0).any() for head in published.parameters()):
        raise ModelNotAvailable(f"{heads}: a weight of LPIPS is less than 0")
    return Distance(network, published.by_tap(), "LPIPS v0.1, VGG16")


def _apart(ours: Tensor, theirs: Tensor) -> Tensor:
    lengths = (ours**2).sum(1)[:, None] + (theirs**2).sum(1)
    return (lengths - 2 * ours @ theirs.T).clamp_min(0)
