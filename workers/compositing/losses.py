"""The terms of the blending's losses, before their weights."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LAPLACIAN = ((0.0, -1.0, 0.0), (-1.0, 4.0, -1.0), (0.0, -1.0, 0.0))

FEW = 16  # columns; products of fewer are rounded otherwise

difference = functional.mse_loss  # the mean squared one


def laplacian(pictures: Tensor) -> Tensor:
    """The Laplacian of each colour of pictures (n, 3, h, w), which are 0 beyond their edges."""
    return functional.conv2d(pictures, _kernel(pictures.device), padding=1, groups=3)


def gram(features: Tensor) -> Tensor:
    """How much the channels of one sample's features (c, h, w) go together: (c, c)."""
    flat = features.flatten(1)
    square = _Square.apply(flat) if flat.shape[1] >= FEW else flat @ flat.t()
    return square / flat.numel()


def total_variation(pictures: Tensor) -> Tensor:
    """The sum of the differences between neighbours, along rows and along columns."""
    across = pictures[:, :, :, 1:] - pictures[:, :, :, :-1]
    down = pictures[:, :, 1:, :] - pictures[:, :, :-1, :]
    return across.abs().sum() + down.abs().sum()


class _Square(torch.autograd.Function):
    """F Fᵀ for a use whose gradient is symmetric, such as its difference from another square.

    Autograd makes two products of that gradient G, G F and (Fᵀ G)ᵀ, which are then the same, and
    adds them; one does it.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        return flat @ flat.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        return (gradient @ flat).mul_(2)


@cache
def _kernel(device: torch.device) -> Tensor:
    return torch.tensor(LAPLACIAN, device=device).expand(3, 1, 3, 3).contiguous()
