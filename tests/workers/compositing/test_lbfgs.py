"""L-BFGS against torch's own, on functions of every behaviour."""

from collections.abc import Callable

import pytest
import torch

from workers.compositing.lbfgs import HISTORY, Lbfgs

Function = Callable[[torch.Tensor], torch.Tensor]

SIZE = 203  # no multiple of a vector register


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    """A bent valley."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum() / len(x)


def kinks(x: torch.Tensor) -> torch.Tensor:
    """Pairs without curvature between kinks."""
    return (x - 0.3).abs().sum() + 1e-3 * (x**2).sum()


def bowl(x: torch.Tensor) -> torch.Tensor:
    """Ends soon: its gradient vanishes."""
    return ((x - 1) ** 2).sum()


def plateau(x: torch.Tensor) -> torch.Tensor:
    """A loss so large that it often stays the same while the point moves: steps end early."""
    return 1e7 + (torch.linspace(1, 9, len(x)) * (x - 0.5) ** 2).sum()


def slope(x: torch.Tensor) -> torch.Tensor:
    """Too flat to move at all, although the gradient has not vanished."""
    return 1e-5 * x[0]


def hills(x: torch.Tensor) -> torch.Tensor:
    """Curved downwards here and there: pairs that must not be remembered."""
    return torch.cos(3 * x).sum() + 0.1 * (x**2).sum()


def start() -> torch.Tensor:
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(1)) * 0.5


def with_torch(function: Function, evaluations: int) -> tuple[torch.Tensor, list[float]]:
    """The last point, and the loss of each evaluation."""
    point = start().requires_grad_()
    losses: list[float] = []
    optimizer = torch.optim.LBFGS([point], history_size=HISTORY)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = function(point)
        loss.backward()
        losses.append(loss.item())
        return loss

    while len(losses) < evaluations:
        optimizer.param_groups[0]["max_iter"] = min(20, evaluations - len(losses))
        optimizer.step(closure)
    return point.detach(), losses


def tell(optimizer: Lbfgs, function: Function) -> float:
    """One evaluation; its loss."""
    point = optimizer.point.detach().requires_grad_()
    loss = function(point)
    (gradient,) = torch.autograd.grad(loss, point)
    optimizer.tell(loss.item(), gradient)
    return loss.item()


@pytest.mark.parametrize("function", [rosenbrock, kinks, hills, bowl, plateau, slope])
def test_it_is_torchs_bit_for_bit(function: Function) -> None:
    point, losses = with_torch(function, 330)
    optimizer = Lbfgs.start(start(), 330)
    ours = []
    while not optimizer.ended:
        ours.append(tell(optimizer, function))
    assert torch.equal(optimizer.point, point)
    assert ours == losses[: len(ours)]
    assert set(losses[len(ours) :]) <= {losses[-1]}  # it stopped where nothing moves any more
