"""What a worker and its model process say to each other, pickled over one two-way pipe.

The pipe's end is the order to stop: whichever side loses the other ends its part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import ImagemillError
from workers.predictor import Batch, Checkpoint

# To the model process


@dataclass(frozen=True)
class Load:
    """The first order: load these models."""

    family: str
    device: str
    checkpoints: Sequence[Checkpoint]


@dataclass(frozen=True)
class Predict:
    """Run a batch; `number` names it in every answer."""

    number: int
    batch: Batch


@dataclass(frozen=True)
class Cancel:
    """Nobody wants the results of this batch any more: stop at the model's next step."""

    number: int


# From the model process


@dataclass(frozen=True)
class Loaded:
    """Every model is loaded."""


@dataclass(frozen=True)
class LoadFailed:
    """A model could not be loaded; the process ends."""

    error: ImagemillError


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps of the running batch; `total` may grow."""

    number: int
    done: int
    total: int
    message: str


@dataclass(frozen=True)
class Done:
    """One result per sample in their order; none where the batch was canceled."""

    number: int
    results: list[dict[str, Any]]
    run_ms: int


@dataclass(frozen=True)
class Failed:
    """The batch raised; `ending`: and the process ends, for its device is lost."""

    number: int
    error: ImagemillError
    ending: bool = False


FromModel = Loaded | LoadFailed | Progress | Done | Failed
