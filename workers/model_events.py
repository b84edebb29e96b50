"""What a worker and its model process say to each other, pickled over one two-way pipe.

The pipe's end is the order to stop: whichever side loses the other ends its part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import ImagemillError
from workers.predictor import Batch, Checkpoint, Result

# To the model process


@dataclass(frozen=True)
class Load:
    """The first order: these models may be named; load the `first` one.

    `memory_gb` is what they may use together, 0 the default for the device.
    """

    family: str
    device: str
    checkpoints: Sequence[Checkpoint]
    first: str
    memory_gb: float = 0.0


@dataclass(frozen=True)
class Hold:
    """Have a model loaded; `number` names the order in its answer, Done or Failed."""

    number: int
    model: str


@dataclass(frozen=True)
class Predict:
    """Run a batch; `number` names it in every answer."""

    number: int
    batch: Batch

    @property
    def model(self) -> str:
        return self.batch.model


@dataclass(frozen=True)
class Cancel:
    """Nobody wants the results of this batch any more: stop at the model's next step."""

    number: int


# From the model process


@dataclass(frozen=True)
class Held:
    """The models in memory have changed to these. The first one of these events says that the
    process takes orders."""

    models: tuple[str, ...]


@dataclass(frozen=True)
class LoadFailed:
    """The first model could not be loaded; the process ends."""

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
    """One result per sample in their order; none where the batch was canceled, or for Hold."""

    number: int
    results: Sequence[Result]
    run_ms: int


@dataclass(frozen=True)
class Failed:
    """The batch, or the load, raised; `ending`: and the process ends, its device being lost."""

    number: int
    error: ImagemillError
    ending: bool = False


FromModel = Held | LoadFailed | Progress | Done | Failed
