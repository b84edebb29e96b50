"""What a worker and its model process say to each other, pickled over one two-way pipe; the samples
of batches have another one (`sample_pipe`).

The pipe's end is the order to stop: whichever side loses the other ends its part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ImagemillError
from workers.predictor import Batch, Checkpoint, Metrics, Result

# To the model process


@dataclass(frozen=True)
class Load:
    """The first order: these models may be named; load the `first` one.

    `memory_gb` is what they may use together, 0 the default for the device; `savepoint_s` is the
    time between two savepoints.
    """

    family: str
    device: str
    checkpoints: Sequence[Checkpoint]
    first: str
    memory_gb: float
    savepoint_s: float


@dataclass(frozen=True)
class Hold:
    """Have a model loaded; `number` names the order in its answer, Done or Failed."""

    number: int
    model: str


@dataclass(frozen=True)
class Predict:
    """Run a batch, after those that were ordered before it. Its samples come by the pipe for
    samples; `number` names it there and in every answer."""

    number: int
    batch: Batch

    @property
    def model(self) -> str:
        return self.batch.model


@dataclass(frozen=True)
class Cancel:
    """Nobody wants the results of this batch any more: stop at the model's next step."""

    number: int


@dataclass(frozen=True)
class Withdraw:
    """Do not begin this batch. Answered by Withdrawn, or, where it has begun, as if never said."""

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
    """`done` of `total` steps of the running batch; `total` may grow. `metrics` are its samples'
    current numbers in their order, or none."""

    number: int
    done: int
    total: int
    message: str
    metrics: Sequence[Metrics]


@dataclass(frozen=True)
class Preview:
    """What has come of the running batch's samples so far, in order, as JPEG."""

    number: int
    pictures: Sequence[bytes]


@dataclass(frozen=True)
class Saved:
    """What the sample at this place can go on from; `StepMonitor.save` says how long the files
    are there."""

    number: int
    place: int
    files: Sequence[Path]


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


@dataclass(frozen=True)
class Withdrawn:
    """The batch has not begun, and will not."""

    number: int


Report = Progress | Preview | Saved  # of a running batch
FromModel = Held | LoadFailed | Report | Done | Failed | Withdrawn
