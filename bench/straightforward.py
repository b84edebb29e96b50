"""Two-pass blending as one would write it down from the paper, for comparison.

Zhang, Wen, Shi: "Deep Image Blending", WACV 2020, https://arxiv.org/abs/1910.11495. Every
evaluation of the loss computes all of it: the features of the target and the source too, which
never change, and each time with the whole network.

Pictures are float32 tensors (1, 3, h, w) with values from 0 to 255; a mask is (1, 1, h, w), of 0
and 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from workers.nets.vgg import Vgg

MEAN = (0.4488, 0.4371, 0.4040)  # made for values up to 1, but taken from values up to 255
TAPS = (3, 8, 15, 22)  # relu1_2, relu2_2, relu3_3, relu4_3
EDGES = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])

Losses = Mapping[str, Tensor]  # the weighted terms


@dataclass
class Blend:
    """What a blending gave: both passes' pictures, and the terms of every evaluation."""

    first_pass: Image.Image
    second_pass: Image.Image
    curves: dict[str, list[dict[str, float]]]


@dataclass
class Blending:
    """One composite: `top` and `left` are where the source lies in the target.

    `evaluated` is called after every evaluation of the loss.
    """

    network: Vgg
    source: Tensor
    mask: Tensor
    target: Tensor
    top: int
    left: int
    steps: int
    seed: int
    evaluated: Callable[[], None]
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def paper(self, target: Tensor) -> Blend:
        """As published: the second pass has the size of another `target`, 512 pixels, and
        compares the content of its picture with itself."""
        first = self.first_pass()
        height, width = target.shape[2:]
        start = tensor(first.resize((width, height), Image.Resampling.BICUBIC)).to(target)

        def losses(image: Tensor) -> Losses:
            features, again = self.features(image), self.features(image)
            return {
                "style": 1e7 * style(features, self.features(target)),
                "content": F.mse_loss(features[1], again[1]),
            }

        return Blend(first, self.descend("second_pass", start, losses), self.curves)

    def mended(self, near: Tensor) -> Blend:
        """The first pass starts near a picture; the second one keeps the content of the first
        one's, at its size."""
        first = self.first_pass(near)
        start = tensor(first).to(self.target)

        def losses(image: Tensor) -> Losses:
            features = self.features(image)
            return {
                "style": 1e7 * style(features, self.features(self.target)),
                "content": F.mse_loss(features[1], self.features(start)[1]),
            }

        return Blend(first, self.descend("second_pass", start, losses), self.curves)

    def first_pass(self, near: Tensor | None = None) -> Image.Image:
        """Seams away: the gradients of the source inside, the target's colours outside."""
        size = self.source.shape[-1]
        rows, columns = slice(self.top, self.top + size), slice(self.left, self.left + size)
        inside = torch.zeros_like(self.target[:, :1])
        inside[..., rows, columns] = self.mask
        edges = laplacian(self.target) * (1 - inside)
        edges[..., rows, columns] += laplacian(self.source) * self.mask

        def blended(image: Tensor) -> Tensor:
            return image * inside + self.target * (1 - inside)

        def losses(image: Tensor) -> Losses:
            blend = blended(image)
            return {
                "gradient": 1e4 * F.mse_loss(laplacian(blend), edges),
                "style": 1e4 * style(self.features(image), self.features(self.target)),
                "content": F.mse_loss(
                    self.features(blend[..., rows, columns] * self.mask)[1],
                    self.features(self.source * self.mask)[1],
                ),
                "tv": 1e-6 * variation(blend),
            }

        noise = torch.randn(self.target.shape, generator=torch.Generator().manual_seed(self.seed))
        if near is not None:
            noise += near
        return self.descend("first_pass", noise.to(self.target.device), losses, blended)

    def features(self, image: Tensor) -> list[Tensor]:
        """What the network makes of a picture at the taps."""
        x = image - torch.tensor(MEAN, device=image.device).view(1, 3, 1, 1)
        found = []
        for index, layer in enumerate(self.network.features):
            x = layer(x)
            if index in TAPS:
                found.append(x)
        return found

    def descend(
        self,
        name: str,
        start: Tensor,
        losses: Callable[[Tensor], Losses],
        shown: Callable[[Tensor], Tensor] = torch.clone,
    ) -> Image.Image:
        """The picture `shown` after so many evaluations of the loss, beginning at `start`."""
        image = start.clone().requires_grad_()
        optimiser = torch.optim.LBFGS([image])  # of 20 evaluations and 100 pairs
        curve = self.curves[name] = []

        def closure() -> Tensor:
            optimiser.zero_grad()
            terms = losses(image)
            loss = total(list(terms.values()))
            loss.backward()
            row = {term: value.item() for term, value in terms.items()}
            curve.append({"evaluation": len(curve) + 1, **row})
            self.evaluated()
            return loss

        while len(curve) < self.steps:
            optimiser.param_groups[0]["max_iter"] = min(20, self.steps - len(curve))
            optimiser.step(closure)
        return picture(shown(image.detach()))


def laplacian(image: Tensor) -> Tensor:
    """The second differences of each channel; the picture ends in black."""
    return F.conv2d(image, EDGES.to(image).expand(3, 1, 3, 3), padding=1, groups=3)


def gram(features: Tensor) -> Tensor:
    """How often the features of (1, channels, h, w) occur together: (channels, channels)."""
    rows = features[0].flatten(1)
    return rows @ rows.t() / rows.numel()


def style(features: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """How far two pictures' textures lie apart, on the average over the layers."""
    terms = [F.mse_loss(gram(a), gram(b)) for a, b in zip(features, wanted, strict=True)]
    return total(terms) / len(terms)


def total(terms: Sequence[Tensor]) -> Tensor:
    """The sum, from the first on."""
    return sum(terms[1:], terms[0])


def variation(image: Tensor) -> Tensor:
    """The sum of all differences between neighbours."""
    across = (image[..., 1:] - image[..., :-1]).abs().sum()
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().sum()
    return across + down


def tensor(picture: Image.Image) -> Tensor:
    """A picture as a tensor."""
    values = np.asarray(picture.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(values).permute(2, 0, 1)[None].contiguous()


def picture(image: Tensor) -> Image.Image:
    """A tensor as a picture of 8 bits; fractions are cut off."""
    values = image[0].clamp(0, 255).to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).cpu().numpy())
