"""What the neural variants compute, as data.

`paper` is the method of Zhang, Wen, Shi: "Deep Image Blending", WACV 2020,
https://arxiv.org/abs/1910.11495. `seed` has a ResNet50 in the first pass. In `mended` the first
pass starts from the Poisson blend in place of noise alone: what changes slowly over the object,
which an optimiser of gradients finds last, is right from the start. And the content term of the
second pass, which the paper's program compares with itself, has something to hold on to: the
first pass's picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Features:
    """A network's outputs at named places, for pictures of values 0 to 255.

    `mean` and `deviation` are those of pictures of 0 to 1: so the published programs have it.
    """

    network: str  # its architecture
    style: tuple[int | str, ...]  # places
    content: int | str  # a place
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Pass:
    """The weights of a pass's loss terms; a term with weight 0 is not computed.

    `anchor` is what the second pass's content is compared with, and `size` the side of its
    picture, where that is not the target's.
    """

    features: Features
    style: float
    style_sum: bool = False  # over the places, in place of their mean
    content: float = 1.0
    anchor: Literal["first pass", "target"] = "first pass"
    gradient: float = 0.0
    tv: float = 0.0
    size: int | None = None


@dataclass(frozen=True)
class Variant:
    """Two passes; the first one's image is noise, perhaps upon the Poisson blend."""

    first: Pass
    second: Pass
    start: Literal["noise", "poisson"] = "noise"


IMAGENET = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}

RELU = Features("vgg16", (3, 8, 15, 22), 8, (0.4488, 0.4371, 0.4040))  # relu1_2 … relu4_3
POOLED = Features("vgg16", (4, 9, 16), 16, **IMAGENET)  # the first three poolings
RESIDUAL = Features(
    "resnet50", ("maxpool", "layer1", "layer2", "layer3", "layer4"), "layer1", **IMAGENET
)

PAPER_FIRST = Pass(RELU, style=1e4, gradient=1e4, tv=1e-6)

VARIANTS: Mapping[str, Variant] = {
    "mended": Variant(PAPER_FIRST, Pass(RELU, style=1e7), start="poisson"),
    "paper": Variant(PAPER_FIRST, Pass(RELU, style=1e7, content=0, size=512)),
    "seed": Variant(
        Pass(RESIDUAL, style=1e4, gradient=1e4, tv=1e-6),
        Pass(POOLED, style=1e7, style_sum=True, anchor="target", tv=1e-6),
    ),
}
