"""Several processes, each with a device, train one model as one process would.

Losses are sums over samples, so gradients of the processes' parts of a batch simply add up.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


@dataclass(frozen=True)
class Peers:
    """The processes that train together, and our place among them; one alone has nothing to do."""

    rank: int = 0
    world: int = 1

    def mean(self, scores: Tensor) -> Tensor:
        """The mean over all processes, as many values in each; gradients flow to all of them."""
        return scores.mean() if self.world == 1 else all_reduce(scores.mean()) / self.world

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradients."""
        values = values.detach().clone()
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all gradients."""
        gradients = [each.grad for each in parameters if each.grad is not None]
        if self.world == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, module: nn.Module) -> None:
        """Give every process the first one's weights."""
        if self.world > 1:
            for value in module.state_dict().values():
                dist.broadcast(value, 0)


@contextmanager
def peers(device: str) -> Iterator[Peers]:
    """Join the processes that torchrun started, or be alone where it started none."""
    if "WORLD_SIZE" not in os.environ:
        yield Peers()
        return
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Peers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
