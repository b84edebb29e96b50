"""What the service answers, as frozen dataclasses.

Each keeps the whole answer in `raw`, so that a field which this version of the client does not
name can still be read. Times are ISO 8601 strings in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from imagemill.errors import ServiceUnavailable

TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base: `raw` is the JSON object that the record was read from."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """The record of a JSON object. Raises ServiceUnavailable where it is something else."""
        if not isinstance(raw, Mapping):
            raise ServiceUnavailable(f"the answer holds no {cls.__name__.lower()}")
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw and f.name != "raw"}
        try:
            return cls(raw=raw, **known)
        except TypeError as error:
            raise ServiceUnavailable(
                f"the answer holds no {cls.__name__.lower()}: {error}"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Step(Record):
    """One call of one model family within a job."""

    name: str
    status: str
    family: str = ""
    model: str = ""
    revision: str | None = None
    attempts: int = 0
    queue_ms: int | None = None
    run_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Progress(Record):
    """How far a job is: `value` from 0 to 1. `metrics` are its numbers now, such as losses."""

    value: float = 0.0
    message: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Urls(Record):
    """Where a job is canceled, and its newest intermediate picture seen while it runs."""

    cancel: str = ""
    preview: str | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact(Record):
    """A file that a job made; pictures have a size and a seed."""

    name: str
    sha256: str
    url: str = ""
    media_type: str = ""
    bytes: int = 0
    width: int | None = None
    height: int | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobError(Record):
    """Why a job failed."""

    code: str
    message: str = ""
    step: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """A job. `outputs` holds what its steps have made so far, as the service sent it."""

    id: str
    kind: str
    status: str
    created_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    expires_at: str | None = None
    queue_position: int | None = None
    eta_s: float | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the job has ended, in whichever way."""
        return self.status in TERMINAL

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(Step.of(step) for step in self.raw.get("steps") or ())

    @property
    def progress(self) -> Progress:
        return Progress.of(self.raw.get("progress") or {})

    @property
    def urls(self) -> Urls:
        return Urls.of(self.raw.get("urls") or {})

    @property
    def error(self) -> JobError | None:
        error = self.raw.get("error")
        return JobError.of(error) if error else None

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The stored files; a picture's size and seed stand only in `outputs["images"]`."""
        images = {image["name"]: image for image in self.outputs.get("images") or ()}
        files = {file["name"]: file for file in self.outputs.get("artifacts") or ()}
        return tuple(
            Artifact.of({**images.get(name, {}), **files.get(name, {})})
            for name in dict.fromkeys((*files, *images))
        )


@dataclass(frozen=True)
class JobPage:
    """One page of a listing; `next` is the cursor of the following one."""

    data: list[Job]
    has_more: bool = False
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class File(Record):
    """An uploaded file; the times of those for batches, and of what batches made, are seconds
    since the epoch."""

    id: str
    bytes: int = 0
    sha256: str = ""
    media_type: str = ""
    width: int | None = None
    height: int | None = None
    purpose: str = ""
    filename: str = ""
    created_at: str | int = ""
    expires_at: str | int = ""


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A model that a job may name; `default` is taken where the job names none."""

    family: str
    name: str
    default: bool = False
    available: bool = False
    state: str | None = None
    licence: str | None = None


@dataclass(frozen=True, kw_only=True)
class Worker(Record):
    """A live worker: one family on one device."""

    name: str
    family: str = ""
    device: str = ""
    host: str = ""
    models: Any = None
    slots: int | None = None
    busy: int | None = None
