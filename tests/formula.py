"""Weights and pictures by formula, as published reference values were made with them.

So a network has known weights without a file: every tensor is a fixed sequence of numbers that
depends on its place in the state dict alone.
"""

import math

import numpy as np
import torch
from torch import nn


def formula_weights(module: nn.Module, gain: float = 1.0) -> None:
    """Fill all of a module's tensors in place.

    Batch norms are those of evaluation: running mean 0, running variance 1.
    """
    names = (name for name in module.state_dict() if not name.endswith("num_batches_tracked"))
    for k, name in enumerate(names):
        tensor = module.state_dict()[name]
        if name.endswith("running_mean"):
            tensor.zero_()
        elif name.endswith("running_var"):
            tensor.fill_(1)
        else:
            tensor.copy_(_values(name, tensor.shape, k, gain))


def image(h: int, w: int, phase: float) -> np.ndarray:
    """A picture of h rows and w columns: float64 (h, w, 3) in [0, 1]."""
    y, x, c = np.meshgrid(np.arange(h), np.arange(w), np.arange(3), indexing="ij")
    return 0.5 + 0.5 * np.sin(0.05 * (c + 1) * x + 0.03 * y + c + phase)


def _values(name: str, shape: torch.Size, k: int, gain: float) -> torch.Tensor:
    """The k-th tensor, float32."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    s = i.mul_(12.9898).add_(78.233 * (k + 1)).sin_().mul_(43758.5453)  # in place: it may be large
    z = s.sub_(s.floor()).sub_(0.5).mul_(math.sqrt(12))
    if len(shape) > 1:
        values = z.mul_(math.sqrt(gain / math.prod(shape[1:])))
    else:
        values = 0.01 * z if "bias" in name else 1 + 0.1 * z
    return values.float().view(shape)
