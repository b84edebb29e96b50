"""What a model family is to the rest of the worker.

`workers/families/<family>.py` ends in `PREDICTOR = …`, a subclass of `Predictor`. It runs in the
model process, one family on one device, and knows nothing of queues, storage or jobs.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from PIL import Image

from shared.errors import ImagemillError, ModelNotAvailable

Metrics = Mapping[str, float]  # the numbers of a running sample, such as its losses
Result = dict[str, Any] | ImagemillError  # of a sample


@dataclass(frozen=True)
class Checkpoint:
    """A model's files: the folder to load, and the commit or digest that names its state.

    `parts` are the folders of a cascade's later stages, `settings` what the registry says to the
    family's loader, `adapters` the LoRA files, by name, that batches of this model may name, and
    `networks` the folders of the networks that it is put together from, by their architecture.
    `memory_gb` is the device memory that it takes, an estimate; 0: by the size of its files.
    """

    model: str
    path: Path
    revision: str
    parts: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    adapters: Mapping[str, Path] = field(default_factory=dict)
    networks: Mapping[str, Path] = field(default_factory=dict)
    memory_gb: float = 0.0


@dataclass(frozen=True)
class Batch:
    """One call of a model: samples that agree on `params`.

    `size` is the batch class: the model always computes exactly `size` samples, the missing ones
    filled with copies of the last, so that a result never depends on company.
    `samples[i]` maps names to values; pictures are RGB `PIL.Image`s, or RGBA where the kind asks
    for it. A sample that goes on from a savepoint has `savepoint`, the folder with its files.
    """

    model: str
    params: Mapping[str, Any]
    size: int
    samples: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def padded(self) -> list[Mapping[str, Any]]:
        """The samples, filled up to `size`."""
        missing = self.size - len(self.samples)
        return [*self.samples, *[self.samples[-1]] * missing]

    def singly(self) -> list[tuple[list[int], "Batch"]]:
        """Each sample as a batch of its own, with its place in this one: for a model whose result
        depends, in its last bits, on where in a batch a sample stands."""
        return [
            ([place], replace(self, size=1, samples=[sample]))
            for place, sample in enumerate(self.samples)
        ]

    def split(
        self, key: Callable[[Mapping[str, Any]], Hashable]
    ) -> list[tuple[list[int], "Batch"]]:
        """Batches of the samples with an equal key, each with its samples' places in this one.

        For what a model must not mix in one call, such as target languages. Each part is padded
        to `size` too.
        """
        places: dict[Hashable, list[int]] = {}
        for place, sample in enumerate(self.samples):
            places.setdefault(key(sample), []).append(place)
        return [
            (group, replace(self, samples=[self.samples[place] for place in group]))
            for group in places.values()
        ]


class StepMonitor(Protocol):
    """How a running batch speaks with its worker."""

    def step(
        self, done: int, total: int, message: str = "", metrics: Sequence[Metrics] = ()
    ) -> bool:
        """Report one step of the model, and the current `metrics` of each sample in order.
        False: every sample was canceled, stop now."""

    def preview_due(self) -> bool:
        """Whether a few seconds have passed since the last preview."""

    def preview(self, pictures: Sequence[Image.Image]) -> None:
        """Show what has come of each sample so far, in order."""

    def savepoint_due(self) -> bool:
        """Whether so much time has passed since the last savepoint that another one pays."""

    def save(self, place: int, files: Sequence[Path]) -> None:
        """Keep what the sample at this place can go on from, should this process be lost.

        The savepoint is all of these files, told apart by their names. What is under a name
        never changes: a file that an earlier savepoint of the sample had, in this process or the
        one before, is kept as it was and not read again. The others are read from now until the
        next call for the sample, or the batch's end. They lie in the temporary folder.
        """


class Unwatched(StepMonitor):
    """The monitor of a batch that nobody watches."""

    def step(
        self, done: int, total: int, message: str = "", metrics: Sequence[Metrics] = ()
    ) -> bool:
        return True

    def preview_due(self) -> bool:
        return False

    def preview(self, pictures: Sequence[Image.Image]) -> None:
        pass

    def savepoint_due(self) -> bool:
        return False

    def save(self, place: int, files: Sequence[Path]) -> None:
        pass


class Predictor(ABC):
    """One model family on one device, or on several that work on one batch together."""

    several_devices: ClassVar[bool] = False  # whether it can: they come separated by commas

    def __init__(self, device: str) -> None:
        self.device = device

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> None:
        """Load a model; afterwards batches may name it. Raises ModelNotAvailable."""

    @abstractmethod
    def unload(self, model: str) -> None:
        """Forget a loaded model: afterwards nothing may refer to its weights."""

    @abstractmethod
    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        """One result per sample of `batch.samples`, in order.

        A bad sample raises, and the worker then runs the samples one by one; where that would be
        dear, an ImagemillError stands in place of its result. When `monitor.step` returns False
        the results are ignored: return an empty list.
        """


def load_predictor(family: str, device: str) -> Predictor:
    """The predictor of a family, found by its file, or a class given as `module:class`.

    Imports what the family needs, torch as a rule. Raises ModelNotAvailable where the devices are
    several and it takes one.
    """
    module, _, name = family.partition(":")
    if not name:
        module, name = f"workers.families.{family}", "PREDICTOR"
    kind: type[Predictor] = getattr(importlib.import_module(module), name)
    if "," in device and not kind.several_devices:
        raise ModelNotAvailable(f"{family} runs on one device, not on {device} together")
    return kind(device)
