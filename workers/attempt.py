"""One request in one execution of a step: its inputs, its samples, and what is stored of them.

The request is a job's, or that of one item of a chunk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

from shared.contracts import Artifact, JobRecord, Priority, StoredFile
from shared.errors import DiskFull, ImagemillError, UnexpectedError
from shared.kind import kinds
from shared.ledger import Ledger
from shared.object_store import ObjectStore
from shared.settings import Settings
from shared.trained_models import TrainedModels
from workers.artifacts import encoded
from workers.batcher import MicroBatcher
from workers.patience import Patience
from workers.resources import exhaustion
from workers.safety import SafetyCheck
from workers.savepoints import Savepoints
from workers.step_inputs import StepInputs
from workers.tickets import StepResult, Ticket


@dataclass
class Workbench:
    """What every step on this worker works with. `stopping` is set once the worker is to end."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore
    batcher: MicroBatcher
    safety: SafetyCheck
    stopping: Event


class Attempt:
    """A request on its way; what it needs on disk is there until the end of the `with` block."""

    def __init__(
        self, bench: Workbench, job: JobRecord, index: int, folder: str, patience: Patience
    ) -> None:
        """Step `index` of the job, whose artifacts go into the folder."""
        self._bench = bench
        self._job = job
        self._step = job.steps[index].step
        self._folder = folder
        self._patience = patience
        self._inputs = StepInputs(bench.settings, bench.ledger, bench.store, patience.fetch)
        kind = kinds()[job.kind]
        self.stage = kind.stage(kind.Input.model_validate(job.input), self._step.name)

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, *_: object) -> None:
        self._inputs.close()

    def samples(self) -> list[dict[str, Any]]:
        """What the model is to be given. Raises as `StepInputs.fetch`, and PromptRejected."""
        return self._inputs.fetch(self._step, self.stage.samples(self._step, self._job.outputs))

    def submit(
        self,
        samples: Sequence[Mapping[str, Any]],
        alone: bool,
        savepoints: Savepoints | None = None,
    ) -> Ticket:
        """Hand the samples to the model; `alone` where it may have killed its process before."""
        return self._bench.batcher.submit(
            self._step.model,
            self._step.params,
            self._step.batch_class,
            samples,
            interactive=self._job.priority is Priority.INTERACTIVE,
            alone=alone,
            savepoints=savepoints,
        )

    def store(self, result: StepResult) -> tuple[dict[str, Any], tuple[Artifact, ...]]:
        """What the stage makes of the results: its outputs, and its artifacts once they are
        stored. Raises the failure that the stage tells of, and as `SafetyCheck.screen`."""
        made = self.stage.produce(result.results)
        produced = self._bench.safety.screen(made, self._job.outputs.get("safety", ()))
        stored = []
        trained, models = produced.trained, TrainedModels(self._bench.store)
        files: dict[str, StoredFile] = {}
        recipe_of = self._job, self._step, result.revision
        for artifact, data in encoded(*recipe_of, produced, self._folder):
            put = partial(self._bench.store.put, artifact.key, data, artifact.media_type)
            self._patience.outlast(partial(put, {"job-id": self._job.id}))
            stored.append(artifact)
            if trained and artifact.name in trained.files:
                keep = partial(models.put_file, trained, artifact.name, data)
                files[artifact.name] = self._patience.outlast(keep)
        if trained:
            self._patience.outlast(partial(models.register, trained, self._job.id, files))
        if produced.failure:
            raise produced.failure
        return produced.outputs, tuple(stored)


def known_error(error: Exception) -> ImagemillError:
    """What to tell the user of an error: as it is, or as a want of disk space, or as a defect."""
    if isinstance(error, ImagemillError):
        return error
    ran_out = exhaustion(error)
    if isinstance(ran_out, DiskFull):
        return ran_out
    return UnexpectedError(f"unexpected error: {type(error).__name__}")
