"""How far apart two sets of pictures are, by the features of their pictures.

Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter: "GANs Trained by a Two Time-Scale Update Rule
Converge to a Local Nash Equilibrium", https://arxiv.org/abs/1706.08500 (FID); Bińkowski,
Sutherland, Arbel, Gretton: "Demystifying MMD GANs", https://arxiv.org/abs/1801.01401 (KID).
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

SUBSETS, SUBSET = 100, 1000  # of KID: how many are drawn, and of how many pictures at most


class Given(nn.Module):
    """In place of the network that a metric would take its features from: here they are."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def distances(real: Tensor, generated: Tensor, seed: int) -> dict[str, Any]:
    """FID and KID between features (n, d) and (m, d), at least two of each, in float64.

    A subset of KID is half of the smaller set at most, or all would be the same.
    """
    subset = max(2, min(SUBSET, len(real) // 2, len(generated) // 2))
    given = Given(real.shape[1])
    fid = FrechetInceptionDistance(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that KID keeps the features in memory
        kid = KernelInceptionDistance(given, subsets=SUBSETS, subset_size=subset)
    for metric in (fid, kid):
        metric.update(real.double(), real=True)
        metric.update(generated.double(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = kid.compute()
    return {
        "fid": fid.compute().item(),
        "kid": {"mean": mean.item(), "std": deviation.item(), "subset": subset},
    }
