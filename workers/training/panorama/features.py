"""What a network sees in a picture, as one vector: what sets of pictures are compared by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.nets import weights
from workers.nets.inception import Inception
from workers.nets.vgg import Vgg
from workers.training.panorama.pairing import normalised

SIDE = 299  # pixels of the pictures that Inception v3 was trained on
RELU5_3 = 29  # its place in VGG16


@dataclass(frozen=True)
class Features:
    """`of` makes vectors (n, d) of pictures (n, 3, h, w) in [0, 1]; `name` says what they are."""

    name: str
    of: Callable[[Tensor], Tensor]


def features(networks: Mapping[str, Path], device: str) -> Features:
    """Those that FID is published with where they are among the networks, else VGG16's.

    networks: folders by architecture. Raises ModelNotAvailable where the weights are damaged.
    """
    if "inception" in networks:
        inception = Inception()
        weights.load(inception, networks["inception"])
        return published(inception.to(device))
    vgg = Vgg(16)
    weights.load(vgg, networks["vgg16"])
    return stand_in(vgg.to(device))


def published(network: Inception) -> Features:
    """2048 values, of the picture stretched to a square."""

    @torch.inference_mode()
    def of(pictures: Tensor) -> Tensor:
        squares = interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False)
        found: Tensor = network(2 * squares - 1)
        return found

    return Features("Inception v3 of FID, pooled", of)


def stand_in(network: Vgg) -> Features:
    """512 values, the means over the picture of what the last convolution sees."""

    @torch.inference_mode()
    def of(pictures: Tensor) -> Tensor:
        [found] = network(normalised(pictures), [RELU5_3])
        return found.mean((2, 3))

    return Features("VGG16 relu5_3, pooled: to compare with one another only", of)
