"""The implicit diversified Markov random field loss: every texture of the target finds a match.

Wang, Tao, Qi, Shen, Jia: "Image Inpainting via Generative Multi-column Convolutional Neural
Networks", NeurIPS 2018, https://arxiv.org/abs/1810.08771; here with patches of one location.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SHARPNESS = 0.5  # the paper's h: how far the nearest match stands out from the others
EPSILON = 1e-5
CHUNK = 1024  # generated locations that are compared at a time

IMAGENET_MEAN = (0.485, 0.456, 0.406)


class Features(Protocol):
    """A trained network, such as `workers.nets.vgg.Vgg`."""

    def __call__(self, x: Tensor, taps: Sequence[int]) -> list[Tensor]: ...


class Texture(nn.Module):
    """The loss over features of a frozen network, float32 throughout.

    `weights` says by tap how much its features count: VGG19's relu3_1 and relu4_1, as a rule.
    """

    VGG19: Mapping[int, float] = {11: 1.0, 20: 2.0}
    VGG16: Mapping[int, float] = {11: 1.0, 18: 2.0}

    mean: Tensor

    def __init__(self, network: nn.Module, weights: Mapping[int, float]) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.weights = dict(weights)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))

    def forward(self, generated: Tensor, target: Tensor) -> Tensor:
        """The loss, summed over the batch, of pictures (n, 3, h, w) in [0, 1]."""
        with torch.autocast(generated.device.type, enabled=False):
            ours = self._features(generated.float())
            with torch.no_grad():
                theirs = self._features(target.float())
            terms = [
                weight * id_mrf(mine, yours).sum()
                for weight, mine, yours in zip(self.weights.values(), ours, theirs, strict=True)
            ]
        return torch.stack(terms).sum()

    def _features(self, pictures: Tensor) -> list[Tensor]:
        # As the paper's program has it: [0, 1] is halved as if it were [-1, 1], and not scaled.
        found: list[Tensor] = self.network((pictures + 1) / 2 - self.mean, list(self.weights))
        return found


def id_mrf(generated: Tensor, target: Tensor, chunk: int = CHUNK) -> Tensor:
    """The loss of each sample (n,), of features (n, c, h, w) in float32.

    All locations of one are compared with all of the other, `chunk` at a time: the matrices
    (h·w, chunk) are not kept for the gradients, but computed again.
    """
    return torch.stack([_one(*pair, chunk) for pair in zip(generated, target, strict=True)])


def _one(generated: Tensor, target: Tensor, chunk: int) -> Tensor:
    centre = target.mean(0, keepdim=True)  # over the channels, at each location
    patches = nn.functional.normalize((target - centre).flatten(1), dim=0)
    places = nn.functional.normalize((generated - centre).flatten(1), dim=0)
    best = [
        checkpoint(_matches, patches, part, use_reentrant=False)
        for part in places.split(chunk, dim=1)
    ]
    return -torch.stack(best).amax(0).mean().log()


def _matches(patches: Tensor, places: Tensor) -> Tensor:
    """How well each patch (c, q) is matched by the best of the places (c, p): (q,).

    A place shares one unit of likeness among all patches, so that it cannot serve them all.
    """
    distance = (1 - patches.T @ places) / 2
    relative = distance / (distance.amin(0) + EPSILON)
    likeness = ((1 - relative) / SHARPNESS).softmax(0)
    return likeness.amax(1)
