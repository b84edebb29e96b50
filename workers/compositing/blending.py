"""The two passes of a batch: its samples advance together, one evaluation at a time.

Each sample has its own state, and its own part of every loss, so its result does not depend on
the others. On a CPU each is evaluated by itself; on a GPU all at once, always as many as the batch
class says.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from shared import logs
from shared.errors import ImagemillError
from workers.compositing.evaluation import Evaluation, precise
from workers.compositing.objectives import Extractor, Insertion, Objective, Refinement
from workers.compositing.run import FIRST, SECOND, Run, square
from workers.compositing.savepoint import Savepoint
from workers.compositing.scene import tensor
from workers.compositing.variants import VARIANTS, Pass
from workers.predictor import Batch, StepMonitor

log = logs.get(__name__)


def blend(
    batch: Batch, networks: Mapping[str, nn.Module], device: str, monitor: StepMonitor
) -> list[dict[str, Any] | ImagemillError]:
    """The result of each sample, but for the networks' names; empty if all were canceled."""
    variant = VARIANTS[batch.params["variant"]]
    with precise(batch.params["precision"]), tempfile.TemporaryDirectory() as folder:
        blending = Blending(batch, networks, device, monitor, Path(folder))
        for at, goal in ((FIRST, variant.first), (SECOND, variant.second)):
            if not blending.descend(at, goal):
                return []
    return [run.failure or run.result() for run in blending.runs]


class Blending:
    """A batch on its way."""

    def __init__(
        self,
        batch: Batch,
        networks: Mapping[str, nn.Module],
        device: str,
        monitor: StepMonitor,
        folder: Path,
    ) -> None:
        self._batch = batch
        self._networks = networks
        self._device = device
        self._monitor = monitor
        self.runs = [Run(sample, batch.params, device) for sample in batch.samples]
        self._savepoints = []
        for place, (run, sample) in enumerate(zip(self.runs, batch.samples, strict=True)):
            own = folder / str(place)
            own.mkdir()
            self._savepoints.append(Savepoint(own))
            if "savepoint" in sample:
                self._savepoints[place].read(sample["savepoint"], run)
        self._unsaved: set[int] = set()  # places, since a savepoint is due

    def descend(self, at: str, goal: Pass) -> bool:
        """Take all samples through a pass that they have not left yet. False: canceled."""
        runs = [run for run in self.runs if not run.failure and at not in run.pictures]
        for run in runs:
            if run.lbfgs is None:
                run.begin(at)
        groups = [self._group(at, goal, members) for members in self._companies(runs)]
        while any(not run.ended for run in runs):
            for group in groups:
                group.advance()
            if not self._report():
                return False
            self._save()
        for run in runs:
            if not run.failure:
                run.finish()
        return True

    def _companies(self, runs: list[Run]) -> list[list[Run]]:
        """Who is evaluated together."""
        if not self._device.startswith("cuda"):
            return [[run] for run in runs]
        return [[*runs, *runs[-1:] * (self._batch.size - len(runs))]] if runs else []

    def _group(self, at: str, goal: Pass, runs: list[Run]) -> "Group":
        network = self._networks[goal.features.network]
        extract = Extractor(network, goal.features, self._batch.params["precision"] == "bf16")
        scenes = [run.scene for run in runs]
        if at == FIRST:
            return Group(runs, Insertion(goal, extract, scenes))
        targets = torch.cat([scene.target_full for scene in scenes])
        anchors = targets
        if goal.anchor == "first pass":
            anchors = torch.cat([tensor(run.pictures[FIRST], self._device) for run in runs])
        return Group(runs, Refinement(goal, extract, targets, anchors))

    def _report(self) -> bool:
        """Tell the worker how far it is; False: canceled."""
        if self._monitor.preview_due():
            self._monitor.preview([run.picture() for run in self.runs])
        last = min(self.runs, key=lambda run: run.done)
        total = 2 * self._batch.params["steps"]
        metrics = [run.metrics for run in self.runs]
        return self._monitor.step(last.done, total, last.message, metrics)

    def _save(self) -> None:
        """Where savepoints are due, make one of each sample as soon as it is between two steps."""
        if not self._unsaved and self._monitor.savepoint_due():
            self._unsaved = set(range(len(self.runs)))
        for place in sorted(self._unsaved):
            run = self.runs[place]
            if run.failure:
                self._unsaved.remove(place)
            elif run.between_steps:
                self._unsaved.remove(place)
                try:
                    self._monitor.save(place, self._savepoints[place].write(run))
                except (OSError, SafetensorError) as error:
                    log.warning("a savepoint cannot be written", error=str(error))


class Group:
    """Runs that are evaluated together; the last one may stand there again, to fill the batch."""

    def __init__(self, runs: Sequence[Run], objective: Objective) -> None:
        self._runs = list(dict.fromkeys(runs))
        images = square(torch.stack([run.point for run in runs]))
        for run, image in zip(self._runs, images, strict=False):
            run.point = image.view(-1)
        self._evaluate = Evaluation(objective, images)

    def advance(self) -> None:
        """Evaluate, and move each image that has not come to its end."""
        if all(run.ended for run in self._runs):
            return
        for run, evaluated in zip(self._runs, self._evaluate(), strict=False):
            if not run.ended:
                run.tell(evaluated)
