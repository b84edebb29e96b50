"""The losses of wide-range image blending, each summed over the samples of a batch.

Lu, Chang, Chiu: "Bridging the Visual Gap: Wide-Range Image Blending", CVPR 2021,
https://arxiv.org/abs/2103.15149. A sum over samples, each a mean over its values, is the paper's
mean over the batch times the batch's size; sums of several processes add up.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

REACH = 0.25  # of the middle's width: where the weight of its pixels has fallen to exp(-1/2)

Mean = Callable[[Tensor], Tensor]
"""A batch's mean, in training with several processes that of all their batches."""


def pixel(image: Tensor, left: Tensor, right: Tensor, middle: Tensor) -> Tensor:
    """Squared error of the sides, and of the middle where its truth is known, most at the seams.

    image: (n, 3, h, 3w); left, right: (n, 3, h, w); middle: (m, 3, h, w), the truth of the
    first m samples.
    """
    made_left, made_middle, made_right = image.float().chunk(3, dim=-1)
    sides = (made_left - left) ** 2 + (made_right - right) ** 2
    weight = seam_weight(left.shape[-1]).to(sides)
    inner = weight * (made_middle[: len(middle)] - middle) ** 2
    return _total(sides) + _total(inner)


def gradient(image: Tensor, left: Tensor, right: Tensor, middle: Tensor) -> Tensor:
    """Absolute error of the differences between neighbours, down and across, in the middle and
    over its seams, weighted as `pixel` weighs it; the shapes are the same.

    Not of the paper: a squared error alone leaves a small network blurred and its seams visible.
    """
    known = len(middle)
    true = torch.cat([left[:known], middle, right[:known]], dim=-1)
    wrong = image[:known].float() - true
    width = middle.shape[-1]
    weight = seam_weight(width).to(wrong)
    down = wrong[..., width:-width].diff(dim=-2).abs() * weight
    across = wrong[..., width - 1 : 1 - width].diff(dim=-1).abs()
    return _total(down) + _total(across * torch.cat([weight[:1], weight]))


def seam_weight(width: int) -> Tensor:
    """(width,): a bell at either edge of the middle, of a standard deviation of width/4."""
    place = torch.arange(width, dtype=torch.float32)
    bell = torch.exp(-(place**2) / (2 * (REACH * width) ** 2))
    return bell + bell.flip(0)


def feature_reconstruction(made: Tensor, true: Tensor) -> Tensor:
    """Squared error of the middle's features (n, c, h, w) against those of the true middle."""
    return _total((made.float() - true.detach().float()) ** 2)


def feature_consistency(rightward: Sequence[Tensor], leftward: Sequence[Tensor]) -> Tensor:
    """How far both directions' left, middle and right features differ."""
    pairs = zip(rightward, leftward, strict=True)
    return torch.stack([_total((one.float() - other.float()) ** 2) for one, other in pairs]).sum()


def adversarial_discriminator(real: Tensor, fake: Tensor, mean: Mean = torch.mean) -> Tensor:
    """Relativistic average least squares on scores (n, 1): the real lie one above the fake mean,
    the fake one below the real mean.

    Jolicoeur-Martineau: https://arxiv.org/abs/1807.00734.
    """
    real, fake = real.float(), fake.float()
    return _total((real - mean(fake) - 1) ** 2) + _total((fake - mean(real) + 1) ** 2)


def adversarial_generator(real: Tensor, fake: Tensor, mean: Mean = torch.mean) -> Tensor:
    """How far the fake scores lie from the mean of the real ones, which is held fixed."""
    return _total((fake.float() - mean(real.detach().float())) ** 2)


def _total(values: Tensor) -> Tensor:
    """The sum over samples of the mean of each."""
    return values.flatten(1).mean(1).sum()
