"""Several processes, each with a device, train one model as one process would.

They begin with the same networks, for these are made of the same seed or read from the same
files. Losses are sums over samples, so gradients of the processes' parts of a batch simply add
up; with the same sums all take the same steps.
"""

import os
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

# One process waits so long for another, which may draw a sheet or write a savepoint meanwhile.
PATIENCE = timedelta(minutes=5)
LOOPBACK = "127.0.0.1"
ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    "TORCH_NCCL_BLOCKING_WAIT": "1",  # or NCCL would end the process when the time is over
}


@dataclass(frozen=True)
class Peers:
    """The processes that train together, `world` in all; one alone has nothing to do."""

    world: int = 1

    def mean(self, scores: Tensor) -> Tensor:
        """The mean over all processes, as many values in each; gradients flow to all of them."""
        mean: Tensor = scores.mean()
        return mean if self.world == 1 else _Sum.apply(mean) / self.world

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradients."""
        return values.detach() if self.world == 1 else summed(values.detach())

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all gradients."""
        gradients = [each.grad for each in parameters if each.grad is not None]
        if self.world == 1 or not gradients:
            return
        flat = summed(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


class _Sum(torch.autograd.Function):
    """A sum over the processes; what each value does to it, it does in all of them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return summed(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return summed(gradient)


def summed(value: Tensor) -> Tensor:
    """The sum of the processes' values, the same in all of them."""
    total = value.clone()
    dist.all_reduce(total)
    return total


def meeting() -> dist.TCPStore:
    """A new place where processes find each other; none but those of this machine can reach it."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        port = listening.getsockname()[1]
        return dist.TCPStore(
            LOOPBACK,
            port,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )


def found(port: int) -> dist.TCPStore:
    """The meeting that another process has opened at this port."""
    return dist.TCPStore(LOOPBACK, port, is_master=False)


def join(store: dist.Store, device: str, rank: int, world: int) -> None:
    """Be one of the processes that meet there, over gloo on a CPU or NCCL on GPUs.

    From now on whoever waits for a process that is lost gets a RuntimeError: over gloo at once,
    over NCCL after PATIENCE.
    """
    os.environ.update(ENVIRONMENT)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=world,
        timeout=PATIENCE,
    )


def leave() -> None:
    """Be alone again, whatever the others do."""
    if group := dist.group.WORLD:
        group.abort()  # without that NCCL would wait for the others
        dist.destroy_process_group()
