"""The bodies of /v1/batches and of the files around them: what is parsed, sent and documented."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Body, Url
from shared.batches import BatchStatus

Seconds = Annotated[int, Field(description="Seconds since the epoch.")]


class RequestCounts(Body):
    total: int
    completed: int
    failed: int


class BatchProblemView(Body):
    code: str
    message: str
    line: int | None
    param: str | None


class BatchProblems(Body):
    object: Literal["list"] = "list"
    data: list[BatchProblemView]


class BatchUrls(Body):
    self: Url
    results: Url = Field(description="The results so far, in input order.")
    errors: Url = Field(description="The errors so far, in input order.")


class BatchOutputs(Body):
    """What was written over all items, in another format than JSON lines."""

    format: Literal["parquet", "webdataset"]
    url: str | None = Field(
        description="Of the table, or of all shards as `…/{000000..000012}.tar`: `https://`, or"
        " `s3://` below `output`. Null where there is nothing."
    )
    items: int
    bytes: int
    error: str | None


class Batch(Body):
    """A batch. Times are seconds since the epoch, as in OpenAI's interface."""

    id: str
    object: Literal["batch"]
    endpoint: str
    input_file_id: str | None = Field(description="Null for a batch over a `source`.")
    completion_window: str | None
    status: BatchStatus
    request_counts: RequestCounts
    output_file_id: str | None
    error_file_id: str | None
    errors: BatchProblems | None = Field(description="Why the source is of no use.")
    created_at: Seconds
    in_progress_at: Seconds | None
    paused_at: Seconds | None
    finalizing_at: Seconds | None
    completed_at: Seconds | None
    failed_at: Seconds | None
    expired_at: Seconds | None
    cancelling_at: Seconds | None
    cancelled_at: Seconds | None
    expires_at: Seconds | None = Field(description="When its completion window is over.")
    erased_at: Seconds | None = Field(description="When it is forgotten; null before it has ended.")
    metadata: dict[str, Any]
    source: dict[str, Any] | None
    job: dict[str, Any] | None
    output: str | None
    output_format: Literal["jsonl", "parquet", "webdataset"]
    outputs: BatchOutputs | None = Field(
        description="Null before it has ended, and for `jsonl`, of which there are always files."
    )
    start_at: str | float | None
    window: str | None
    timezone: str | None
    next_start: Seconds | None = Field(
        description="When its schedule lets it go on; null while it does."
    )
    paused_by: Literal["user", "schedule"] | None
    rate: float | None = Field(description="Items a second, lately.")
    eta_s: float | None
    error_codes: dict[str, int] = Field(description="Of the failed items: code → how many.")
    urls: BatchUrls


class BatchList(Body):
    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None = Field(description="The cursor `after` of the following page.")
    has_more: bool


class ModelForecast(Body):
    """A model that the items need."""

    family: str
    model: str
    served: bool = Field(description="Whether a live worker has it.")
    held: bool = Field(description="Whether it is in the memory of one; else it is loaded first.")


class Outcome(Body):
    """What came of an earlier batch."""

    batch_id: str
    items: int
    forecast_s: float | None = Field(description="What was forecast when it started.")
    took_s: float
    ratio: float | None = Field(description="Taken ÷ forecast.")


class Truth(Body):
    """How right earlier forecasts of the same kind of work were."""

    median_ratio: float | None
    earlier: list[Outcome] = Field(description="Newest first.")


class StartForecast(Body):
    """What was forecast when the batch began to run."""

    made_at: Seconds
    rate: float | None
    run_s: float | None
    finish_at: Seconds | None


class Forecast(Body):
    """What is to be expected of a batch. What is not known is null."""

    object: Literal["batch.forecast"]
    batch_id: str
    status: BatchStatus
    items: int | None
    items_left: int | None = Field(description="While failed items are done again, at most.")
    rate: float | None = Field(description="Items a second, while it runs.")
    basis: Literal[
        "measured in this batch", "measured for the same kind and models before", "none yet"
    ]
    run_s: float | None = Field(description="Seconds of work that are left.")
    seconds: float | None = Field(description="Until the end, with the pauses of its schedule.")
    finish_at: Seconds | None = Field(description="Of a paused batch: if it is resumed now.")
    in_time: bool | None = Field(description="Whether that is before its window is over.")
    models: list[ModelForecast]
    model_loads: int
    read_bytes: int | None = Field(description="Of the source, for what is left.")
    write_bytes: int | None = Field(description="Files that what is left will leave, about.")
    at_start: StartForecast | None
    truth: Truth


class KnownRequest(BaseModel):
    """Which of these files need not be uploaded."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    purpose: Literal["image", "batch"]
    sha256: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1, max_length=1000)
    ]


class KnownFiles(Body):
    known: dict[str, str] = Field(description="SHA-256 → file id, of those that are here.")
