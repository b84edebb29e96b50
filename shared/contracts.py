"""The types that cross process boundaries: jobs, steps, artifacts and their states.

A *job* is what a user submits. Its kind plans it as a list of *steps*, each one call of one
model family. A step is cut into *samples*, the unit that shares a batch. The jobs of a user's
batch of thousands (`shared/batches.py`) run up to CHUNK *items* each.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import ImagemillError


class JobStatus(StrEnum):
    """Where a job stands; the same names in the ledger, over HTTP and in the client."""

    QUEUED = "queued"  # accepted; no step has started
    RUNNING = "running"  # a step has started, or waits between two steps
    CANCELING = "canceling"  # a cancel was accepted while a step ran; the worker will stop it
    SUCCEEDED = "succeeded"  # every step committed
    FAILED = "failed"  # a step failed for good; `error` says why
    CANCELED = "canceled"  # canceled before the last commit
    EXPIRED = "expired"  # the deadline passed before the first step started

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED})

CHUNK = 64  # how many consecutive items of a batch are scheduled together


class StepStatus(StrEnum):
    """Where a step stands within its job."""

    WAITING = "waiting"  # its turn has not come
    QUEUED = "queued"  # its turn has come; no worker holds it
    RUNNING = "running"  # a worker holds a lease on it
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"  # the job ended before this step could


class Priority(StrEnum):
    """Interactive jobs are taken before bulk ones; each has a batch class of its own."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


def queue_name(family: str, model: str, priority: Priority) -> str:
    """The broker queue of one model and priority. Workers serve queues in sorted order."""
    rank = 1 if priority is Priority.INTERACTIVE else 2
    return f"{rank}-{priority}.{family}.{model}"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(Frozen):
    """One planned call of one family, fixed when the job is submitted.

    `params` hold everything that a batch must agree on (size, steps, guidance, target
    language, …) and so, with the model and `batch_class`, are the batch key.
    `batch_class` is the fixed number of samples in every batch that this step runs in.
    """

    name: str
    family: str
    model: str
    params: dict[str, Any] = Field(default_factory=dict)
    batch_class: int = Field(default=1, ge=1)

    def queue(self, priority: Priority) -> str:
        """The broker queue of this step."""
        return queue_name(self.family, self.model, priority)


class StoredFile(Frozen):
    """Bytes in the bucket, and the digest that they must have."""

    key: str
    sha256: str
    bytes: int


class Artifact(Frozen):
    """A stored object: where it lies, what it is, and the digest it must have."""

    name: str
    key: str
    media_type: str
    sha256: str
    bytes: int
    width: int | None = None
    height: int | None = None
    seed: int | None = None


class JobError(Frozen):
    """Why a job failed."""

    code: str
    message: str
    step: str | None = None


class BatchPlace(Frozen):
    """Where in a batch a job belongs: to one opening of one chunk.

    `number`: of a job that is one item by itself.
    """

    batch_id: str
    chunk: int
    opening: int
    number: int | None = None


class Item(Frozen):
    """One item of a chunk job. `number` is its place in the batch, from 0; `input` is complete,
    as the kind's `Input` dumps it."""

    number: int
    custom_id: str
    input: dict[str, Any]
    metadata: dict[str, Any] = Field(default_factory=dict)


class ItemOutput(Frozen):
    """What a step made of one item, or why it could not."""

    number: int
    outputs: dict[str, Any] = Field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    error: JobError | None = None
    attempts: int = 1
    run_ms: int = 0


class StepOutput(Frozen):
    """What a step left behind, as recorded by COMMIT.

    `items`: of a chunk job, in the order of its items; those that failed in an earlier step are
    absent.
    """

    outputs: dict[str, Any] = Field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    items: tuple[ItemOutput, ...] = ()
    revision: str = ""
    batch_class: int = 1
    run_ms: int = 0


class StepRecord(Frozen):
    """A step as the ledger knows it. Times are milliseconds since the epoch."""

    step: Step
    status: StepStatus = StepStatus.WAITING
    attempts: int = 0
    queued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    output: StepOutput | None = None


class JobRecord(Frozen):
    """A job as the ledger knows it. Times are milliseconds since the epoch.

    `version` grows with every change that its manifest must show, `retention_ms` is how long it
    is kept once it has ended, and `idempotency` is (key, digest of the body) of its request.
    A job of a `batch` runs `items`, unless it is one item by itself; `input` is empty then.
    """

    id: str
    tenant: str
    kind: str
    version: int
    status: JobStatus
    priority: Priority
    input: dict[str, Any]
    metadata: dict[str, Any]
    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    retention_ms: int
    expires_at: int
    deadline_at: int | None = None
    files: tuple[str, ...] = ()
    idempotency: tuple[str, str] | None = None
    batch: BatchPlace | None = None
    items: tuple[Item, ...] = ()
    steps: tuple[StepRecord, ...]
    current: int  # index of the step whose turn it is
    fence: int = 0
    progress: float = 0.0
    progress_message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)  # of the running step
    error: JobError | None = None

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of all committed steps, merged in order."""
        merged: dict[str, Any] = {}
        for record in self.steps:
            if record.output:
                merged.update(record.output.outputs)
        return merged

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The artifacts of all committed steps, in order, with those of a chunk's items."""
        outputs = [record.output for record in self.steps if record.output]
        return tuple(
            artifact
            for output in outputs
            for made in (output.artifacts, *(item.artifacts for item in output.items))
            for artifact in made
        )


class NewJob(Frozen):
    """What SUBMIT records. `files` are the ids of the uploads that the job needs.

    `batch` and `items`: as in `JobRecord`.
    """

    id: str
    tenant: str
    kind: str
    priority: Priority
    input: dict[str, Any]
    steps: tuple[Step, ...]
    files: tuple[str, ...] = ()
    batch: BatchPlace | None = None
    items: tuple[Item, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)
    deadline_s: float | None = None
    retention_s: float


class FileRecord(Frozen):
    """An upload. Times are milliseconds since the epoch."""

    id: str
    tenant: str
    purpose: str
    key: str
    bytes: int
    sha256: str
    media_type: str
    filename: str = ""  # as its owner called it
    width: int | None = None
    height: int | None = None
    created_at: int
    expires_at: int


class WorkerRecord(Frozen):
    """A live worker, as its heartbeat tells it."""

    name: str
    host: str
    pid: int
    family: str
    device: str
    models: dict[str, str]  # name → revision
    queues: tuple[str, ...]
    slots: int
    busy: int
    started_at: int
    model_pid: int | None = None
    held: tuple[str, ...] = ()  # the models in its memory now


@dataclass(frozen=True)
class ImageInput:
    """A picture among a sample's data that the worker fetches and decodes before the call.

    It is made no larger than the model has use for, which spares the model process the work:
    resized to `size` (width, height), or shrunk until no side is over `longest`.
    """

    reference: str  # as `shared.references` reads it
    size: tuple[int, int] | None = None
    longest: int | None = None
    alpha: bool = False  # as RGBA, where otherwise transparency lies on white


@dataclass(frozen=True)
class DatasetInput:
    """Pictures for training, which the worker puts into a folder before the call: those in an
    uploaded archive (`file_…`), or below an S3 prefix (`s3://bucket/prefix/`)."""

    reference: str


@dataclass(frozen=True)
class WeightsInput:
    """A trained model's files by name, which the worker puts into a folder before the call."""

    files: Mapping[str, StoredFile]

    @classmethod
    def of(cls, chosen: Mapping[str, Any]) -> "WeightsInput":
        """What a step's parameters say of a trained model."""
        return cls({name: StoredFile(**file) for name, file in chosen["files"].items()})


@dataclass(frozen=True)
class OutputFolder:
    """An empty folder that the model may leave files in: they are there until its results are
    stored."""


@dataclass(frozen=True)
class Sample:
    """One unit of work for a model: a caption, a sentence, a picture.

    `data` holds what may differ within a batch: text, seed, pictures. A picture is an
    `ImageInput` when the kind makes the sample and an RGB `PIL.Image` when the model sees it;
    `DatasetInput`, `WeightsInput` and `OutputFolder` become the `Path` of a folder.
    """

    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageOutput:
    """A picture that a step produced; stored as PNG with its recipe.

    One that a model `drew` passes the safety check first; `unsafe` is what the model's own
    checker said of it.
    """

    name: str
    image: Any  # PIL.Image.Image, RGB
    seed: int | None = None
    drew: bool = False
    unsafe: bool | None = None


@dataclass(frozen=True)
class FileOutput:
    """A file that a step produced, stored as it is: a video, a plot, a table.

    A large one is left in the step's `OutputFolder`, and `data` is its path.
    """

    name: str
    data: bytes | Path
    media_type: str


@dataclass(frozen=True)
class TrainedOutput:
    """A model that a step has trained, which jobs may name from then on.

    `files` are names among the step's `FileOutput`s: what a worker of the family loads.
    """

    family: str
    name: str
    files: tuple[str, ...]
    about: dict[str, Any]


@dataclass(frozen=True)
class Produced:
    """What a kind makes of a step's results: values for `outputs`, and what to store.

    `recipe` is what the pictures' recipe says beside the step's parameters. With a `failure` the
    step fails all the same, once the `trained` model is registered.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    images: tuple[ImageOutput, ...] = ()
    files: tuple[FileOutput, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    trained: TrainedOutput | None = None
    failure: ImagemillError | None = None


def new_id(prefix: str) -> str:
    """A random identifier such as `job_3f…` with 96 bits of chance."""
    return f"{prefix}_{secrets.token_hex(12)}"
