"""The bodies of the HTTP API, as pydantic models: what is parsed, sent and documented."""

from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, create_model
from pydantic_core import to_json

from shared.contracts import JobStatus, Priority, StepStatus
from shared.kind import kinds
from shared.model_store import ModelState

MAX_METADATA_BYTES = 16 * 1024
MAX_DEADLINE_S = 30 * 86_400

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    if len(to_json(value)) > MAX_METADATA_BYTES:
        raise ValueError(f"more than {MAX_METADATA_BYTES} bytes of JSON")
    return value


Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_bounded),
    Field(default_factory=dict, description="Yours; at most 16 KiB of JSON."),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldError(Body):
    pointer: str = Field(description="A JSON pointer into the request.")
    detail: str


class Problem(Body):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="A stable name of what went wrong.")
    detail: str
    errors: list[FieldError] | None = None
    missing: list[str] | None = Field(default=None, description="Of `/readyz`: what is away.")


class JobEnvelope(BaseModel):
    """What a job of every kind has beside its input."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    models: dict[str, str] = Field(
        default_factory=dict, description="Family → model; the profile's where none is named."
    )
    priority: Annotated[Priority, Field(strict=False)] = Priority.INTERACTIVE
    metadata: Metadata
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=MAX_DEADLINE_S,
        description="A job that has not started by then expires; one that runs then fails.",
    )


@cache
def job_request() -> type[RootModel[Any]]:
    """The body of `POST /v1/jobs`: one variant a kind, told apart by `kind`."""
    variants: tuple[Any, ...] = tuple(
        create_model(
            f"{name.title()}Job",
            __base__=JobEnvelope,
            __doc__=kind.summary,
            kind=(Literal[name], ...),  # type: ignore[arg-type]
            input=(kind.Input, ...),
        )
        for name, kind in kinds().items()
    )
    union: Any = Annotated[Union[variants], Field(discriminator="kind")]  # noqa: UP007
    return create_model("JobRequest", __base__=RootModel[union])


class File(Body):
    """An upload, or the results of a batch.

    The times of what belongs to batches are seconds since the epoch, as in OpenAI's interface.
    """

    id: str
    object: Literal["file"]
    purpose: str
    filename: str
    status: Literal["processed"]
    bytes: int
    sha256: str
    media_type: str
    width: int | None
    height: int | None
    created_at: Time | int
    expires_at: Time | int


class StepView(Body):
    """One step of a job: one call of one model."""

    name: str
    family: str
    model: str
    revision: str | None = Field(description="The model's exact version; null until it ran.")
    status: StepStatus
    attempts: int
    queue_ms: int | None
    run_ms: int | None
    batch_class: int = Field(description="The fixed number of samples in every batch.")


class Progress(Body):
    value: float = Field(ge=0, le=1)
    message: str
    metrics: dict[str, float] = Field(
        description="The running step's current numbers, such as the losses of a `composite`."
    )


class ArtifactView(Body):
    """A stored file of a job; `url` is permanent and leads to a presigned address."""

    name: str
    url: Url
    media_type: str
    sha256: str
    bytes: int


class ImageView(ArtifactView):
    width: int | None
    height: int | None
    seed: int | None


class Region(Body):
    """A piece of text found in a picture."""

    box: list[tuple[float, float]] = Field(
        description="Its corners (x, y) in pixels, clockwise from the top left one."
    )
    text: str
    confidence: float


class Verdict(BaseModel):
    """What the safety check says of one picture."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    flagged: bool
    blocked: bool = Field(description="A blocked picture is not stored.")


class Outputs(BaseModel):
    """What the steps that have ended left behind."""

    model_config = ConfigDict(extra="allow", frozen=True)

    caption: str | None = None
    translations: dict[str, str] | None = Field(default=None, description="By language.")
    translation: str | list[str] | None = None
    text: str | None = Field(default=None, description="Of `ocr`: all regions in reading order.")
    regions: list[Region] | None = None
    answer: str | None = None
    prompt: str | None = Field(default=None, description="What was drawn.")
    losses: dict[str, dict[str, float] | float] | None = Field(
        default=None,
        description="Of `composite`: each pass's last loss terms. Of a training: its last losses.",
    )
    trained_model: str | None = Field(
        default=None, description="Of a training: the name that jobs may use from now on."
    )
    fid: float | None = Field(default=None, description="Of an evaluation.")
    kid: dict[str, float] | None = Field(
        default=None, description="Of an evaluation: `mean` and `std`, over subsets of `subset`."
    )
    features: str | None = Field(default=None, description="Whose features these compare.")
    networks: dict[str, str] | None = Field(
        default=None, description="Of `composite`: the weights of each network."
    )
    safety: list[Verdict] | None = Field(
        default=None, description="One verdict for each picture that was drawn."
    )
    images: list[ImageView]
    artifacts: list[ArtifactView]


class JobErrorView(Body):
    code: str
    message: str
    step: str | None


class Urls(Body):
    self: Url
    cancel: Url
    preview: Url | None = Field(
        description="While a step runs: its newest intermediate picture, if it shows any."
    )


class Job(Body):
    """A job."""

    id: str
    kind: str
    status: JobStatus
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    expires_at: Time | None = Field(description="Null for an item of a batch that was not run.")
    steps: list[StepView]
    progress: Progress
    queue_position: int | None = Field(description="Steps that wait before this job's.")
    eta_s: float | None
    outputs: Outputs
    error: JobErrorView | None
    metadata: dict[str, Any]
    urls: Urls
    reused_from: str | None = Field(
        default=None, description="Of a batch's item that was not run: the job that made its files."
    )


class JobList(Body):
    data: list[Job]
    has_more: bool
    next: str | None = Field(description="The cursor `after` of the following page.")


class StoredFileView(Body):
    sha256: str
    bytes: int


class Languages(Body):
    sources: list[str]
    targets: list[str]


class ModelView(Body):
    """A model that a job may name."""

    id: str
    name: str
    family: str
    default: bool = Field(description="Whether the profile takes it when none is named.")
    available: bool = Field(description="Whether a live worker serves it.")
    state: ModelState = Field(description="Where its files are, as far as the service knows.")
    licence: str
    download_gb: float = Field(description="What fetching it takes, about.")
    memory_gb: float = Field(description="Device memory in half precision, an estimate.")
    defaults: dict[str, Any]
    languages: Languages | None


class ModelList(Body):
    data: list[ModelView]


class TrainedModelView(Body):
    """A model that a training job made."""

    id: str
    name: str
    family: str
    job: str = Field(description="The job that trained it, which may be gone by now.")
    created_at: Time
    files: dict[str, StoredFileView]
    about: dict[str, Any] = Field(description="What its training told: settings, errors.")


class WorkerView(Body):
    """A live worker."""

    name: str
    host: str
    pid: int
    family: str
    device: str
    models: dict[str, str] = Field(description="Name → revision.")
    held: list[str] = Field(description="The models in its memory now; others load on demand.")
    queues: list[str]
    slots: int
    busy: int
    started_at: Time
    model_pid: int | None


class WorkerList(Body):
    data: list[WorkerView]


class Health(Body):
    status: str
