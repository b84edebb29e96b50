"""L-BFGS that is told the value at its point, one evaluation at a time.

So several optimisations advance in one batch, and each can be put aside between two of its steps.
The method is Liu's and Nocedal's (https://doi.org/10.1007/BF01589116) without a line search, with
the rules of `torch.optim.LBFGS` for when a step ends; on a CPU the points are the same bit for bit.
"""

from collections import deque
from dataclasses import dataclass, field

import torch

HISTORY = 100  # pairs
STEP = 20  # evaluations, at most
TOLERANCE_GRADIENT = 1e-7  # of its largest component
TOLERANCE_CHANGE = 1e-9  # of the loss, of the move's largest component, of the slope
CURVATURE = 1e-10  # of a pair; one with less says nothing


@dataclass(frozen=True)
class Pair:
    """A move of the point, how the gradient changed along it, and one over their dot product."""

    move: torch.Tensor
    change: torch.Tensor
    weight: torch.Tensor  # 0-dimensional


@dataclass
class Lbfgs:
    """One optimisation of a vector, which it moves in place.

    Evaluate at `point` and `tell`, until it has `ended`. A step is a run of at most `STEP`
    evaluations, and of no more than are `left`. Between two steps the fields without an
    underscore are all that the rest depends on.
    """

    point: torch.Tensor
    left: int  # evaluations
    move: torch.Tensor  # the last one
    gradient: torch.Tensor  # before it
    scale: torch.Tensor  # 0-dimensional: the inverse Hessian without any pair
    pairs: deque[Pair] = field(default_factory=lambda: deque(maxlen=HISTORY))
    recorded: int = 0  # pairs, with those that are forgotten
    moved: bool = False
    converged: bool = False  # the point will not move any more
    _of_step: int = field(default=0, init=False)  # evaluations of the running step
    _step: int = field(default=0, init=False)  # its length
    _loss: float = field(default=0.0, init=False)  # before the last move

    @classmethod
    def start(cls, point: torch.Tensor, evaluations: int) -> "Lbfgs":
        """An optimisation of so many evaluations that has not moved yet."""
        move, gradient = torch.zeros_like(point), torch.zeros_like(point)
        return cls(point, evaluations, move, gradient, scale=point.new_ones(()))

    @property
    def between_steps(self) -> bool:
        return self._of_step == 0

    @property
    def ended(self) -> bool:
        return self.converged or self.left == 0

    def tell(self, loss: float, gradient: torch.Tensor) -> None:
        """Move on, knowing the loss and its gradient at the point.

        The gradient, a vector, is kept: it must not be written to afterwards.
        """
        first = self.between_steps
        if first:
            self._step = min(STEP, self.left)
        self._of_step += 1
        self.left -= 1
        if not self._advance(loss, gradient, first) or self._of_step == self._step:
            self._of_step = 0

    def _advance(self, loss: float, gradient: torch.Tensor, first: bool) -> bool:
        """Move, unless the step ends before. Twice it waits for the device to decide that."""
        change = gradient.sub(self.gradient)
        curvature = change.dot(self.move)
        steepest, farthest, curved = torch.stack(
            [_largest(gradient), _largest(self.move), curvature]
        ).tolist()
        if steepest <= TOLERANCE_GRADIENT:
            self.converged = True
            return False
        if not first and (
            farthest <= TOLERANCE_CHANGE or abs(loss - self._loss) < TOLERANCE_CHANGE
        ):
            return False  # the next step may get further
        if curved > CURVATURE:
            self.pairs.append(Pair(self.move, change, 1.0 / curvature))
            self.recorded += 1
            self.scale = curvature / change.dot(change)
        direction = self._direction(gradient)
        if gradient.dot(direction).item() > -TOLERANCE_CHANGE:
            self.converged = True
            return False
        if self.moved:
            self.move = direction
            self.point.add_(direction)
        else:  # nothing is known yet of how far to go
            length = torch.clamp(1.0 / gradient.abs().sum(), max=1.0)
            self.move = direction.mul(length)
            _add(self.point, direction, length)
            self.moved = True
        self.gradient, self._loss = gradient, loss
        return True

    def _direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """Minus the approximate inverse Hessian, which the pairs make, times the gradient."""
        direction = gradient.neg()
        shares = []
        for pair in reversed(self.pairs):
            shares.append(pair.move.dot(direction).mul_(pair.weight))
            _add(direction, pair.change, -shares[-1])
        direction.mul_(self.scale)
        for pair in self.pairs:
            share = pair.change.dot(direction).mul_(pair.weight)
            _add(direction, pair.move, shares.pop() - share)
        return direction


def _add(vector: torch.Tensor, other: torch.Tensor, factor: torch.Tensor) -> None:
    """vector += factor · other, for a 0-dimensional factor that stays on its device.

    `add_` would wait for the device to have it as a number; on a CPU it rounds once only, as
    torch's own optimiser does.
    """
    if vector.is_cuda:
        vector.addcmul_(other, factor)
    else:
        vector.add_(other, alpha=factor.item())


def _largest(vector: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(vector, float("inf"))
