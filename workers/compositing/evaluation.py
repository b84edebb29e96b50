"""A pass's losses and their gradients at the images of a group of samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workers.compositing.objectives import Objective

WARM_UP = 3  # evaluations before one is recorded, in which the libraries choose and allocate


class Evaluated(NamedTuple):
    """A sample's weighted terms by name, their sum in fp32, and its gradient (3, h, w)."""

    terms: dict[str, float]
    loss: float
    gradient: Tensor


class Evaluation:
    """Evaluates images (n, 3, h, w), which stay where they are and are changed in place.

    On a GPU the evaluation is recorded once, as a CUDA graph, and then replayed.
    """

    def __init__(self, objective: Objective, images: Tensor) -> None:
        self._objective = objective
        self._images = images.detach().requires_grad_()
        self._names: list[str] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        if images.is_cuda:
            self._graph, self._values, self._gradients = self._recorded()

    def __call__(self) -> list[Evaluated]:
        """What each image gives. Waits for the device once, to read all numbers."""
        if self._graph is None:
            values, gradients = self._compute()
        else:
            self._graph.replay()
            values, gradients = self._values, self._gradients.clone()
        return [
            Evaluated(dict(zip(self._names, terms, strict=True)), loss, gradient)
            for (*terms, loss), gradient in zip(values.tolist(), gradients, strict=True)
        ]

    def _compute(self) -> tuple[Tensor, Tensor]:
        """Each sample's terms and loss (n, terms + 1), and the gradients (n, 3, h, w)."""
        terms = self._objective(self._images)
        self._names = list(terms[0])
        losses = [reduce(add, each.values()) for each in terms]
        values = [
            torch.stack([*each.values(), loss]) for each, loss in zip(terms, losses, strict=True)
        ]
        (gradients,) = torch.autograd.grad(losses, self._images)
        return torch.stack(values).detach(), gradients

    def _recorded(self) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        stream = torch.cuda.Stream(self._images.device)
        stream.wait_stream(torch.cuda.current_stream(self._images.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._compute()
        torch.cuda.current_stream(self._images.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            values, gradients = self._compute()
        return graph, values, gradients


@contextmanager
def precise(precision: str) -> Iterator[None]:
    """Within it a GPU computes fp32 as such, or rounds the factors to TF32 if `precision` says
    "tf32"; and its convolutions add up in the same order every time."""
    cudnn: Any = torch.backends.cudnn
    backends = torch.backends.cuda.matmul, cudnn.conv
    before = [backend.fp32_precision for backend in backends], cudnn.deterministic
    try:
        cudnn.deterministic = True
        for backend in backends:
            backend.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        cudnn.deterministic = before[1]
        for backend, value in zip(backends, before[0], strict=True):
            backend.fp32_precision = value
