"""The body of `POST /v1/batches`: a file of request lines, or a source and a template."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    model_validator,
)

from api.batches.schedule import Schedule
from api.schemas import Metadata
from shared.contracts import Priority

FileId = Annotated[str, Field(pattern=r"^file_", description="An upload with the purpose `batch`.")]
ObjectUrl = Annotated[str, Field(pattern=r"^s3://[^/]+/.*[^/]$", description="`s3://bucket/key`.")]
FolderUrl = Annotated[str, Field(pattern=r"^s3://[^/]+/(.*/)?$", description="`s3://bucket/…/`.")]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _FileOrObject(_Asked):
    file_id: FileId | None = None
    url: ObjectUrl | None = None

    @model_validator(mode="after")
    def _one(self) -> "_FileOrObject":
        if (self.file_id is None) == (self.url is None):
            raise ValueError("give either file_id or url")
        return self


class ManifestSource(_FileOrObject):
    """JSON lines: the variables of each item, and perhaps its `custom_id`."""

    type: Literal["manifest"]


class S3PrefixSource(_Asked):
    """Every picture below a prefix."""

    type: Literal["s3_prefix"]
    url: FolderUrl
    recursive: bool = True


class ArchiveSource(_FileOrObject):
    """Every picture in a zip, tar or tar.gz."""

    type: Literal["archive"]


class WebDatasetSource(_Asked):
    """Tar shards whose members of one name and several extensions are one item."""

    type: Literal["webdataset"]
    urls: Annotated[list[ObjectUrl], Field(min_length=1, max_length=10_000)] | None = None
    prefix: FolderUrl | None = None

    @model_validator(mode="after")
    def _one(self) -> "WebDatasetSource":
        if (self.urls is None) == (self.prefix is None):
            raise ValueError("give either urls or prefix")
        return self


class CocoSource(_Asked):
    """The captions of a COCO annotation file, each with its picture."""

    type: Literal["coco"]
    annotations: FileId | ObjectUrl
    images: Annotated[
        FileId | FolderUrl | ObjectUrl,
        Field(description="A prefix, which ends in a slash, or an archive."),
    ]


Single = Annotated[
    ManifestSource | S3PrefixSource | ArchiveSource | WebDatasetSource | CocoSource,
    Field(discriminator="type"),
]


class PairsSource(_Asked):
    """Two sources side by side: `$first` and `$second`."""

    type: Literal["pairs"]
    first: Single
    second: Single
    match: Literal["name", "random"] = "name"
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0


Source = Annotated[
    ManifestSource | S3PrefixSource | ArchiveSource | WebDatasetSource | CocoSource | PairsSource,
    Field(discriminator="type"),
]


class Template(_Asked):
    """The job of every item; in its strings `$image`, `$name`, `$index` and the source's other
    variables stand for the item's own."""

    kind: str
    input: dict[str, Any]
    models: dict[str, str] = Field(default_factory=dict)
    priority: Annotated[Priority, Field(strict=False)] = Priority.BULK


def _scheduled(name: str) -> AfterValidator:
    """Refuses what the schedule of a batch cannot be made of."""

    def check(value: Any) -> Any:
        try:
            Schedule.of({name: value})
        except (ValueError, OverflowError, OSError) as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(check)


class _Envelope(_Asked):
    """What both forms have."""

    metadata: Metadata
    output_format: Literal["jsonl", "parquet", "webdataset"] = Field(
        default="jsonl", description="What is written beside the results as JSON lines."
    )
    paused: bool = Field(default=False, description="Wait for `/resume`: read the forecast first.")
    start_at: Annotated[str | float | None, _scheduled("start_at")] = Field(
        default=None, description="RFC 3339, or seconds since the epoch."
    )
    window: Annotated[str | None, _scheduled("window")] = Field(
        default=None, description="The hours of the day in which it runs, such as `22:00–06:00`."
    )
    timezone: Annotated[str | None, _scheduled("timezone")] = Field(
        default=None, description="Of the window: an IANA name. UTC where none is given."
    )


CompletionWindow = Annotated[
    str,
    Field(
        pattern=r"^[1-9]\d{0,4}[smhd]$",
        description="Such as `24h`: items that have not run by then expire.",
    ),
]


class LinesRequest(_Envelope):
    """A batch over a file of JSON lines `{custom_id, method, url, body}`."""

    input_file_id: FileId
    endpoint: Literal["/v1/jobs", "/v1/images/generations"]
    completion_window: CompletionWindow


class SourceRequest(_Envelope):
    """A batch that makes one job of a template for every item of a source."""

    source: Source
    job: Template
    output: FolderUrl | None = Field(
        default=None, description="Where the pictures go, as `{custom_id}/{name}`."
    )
    reuse: bool = Field(
        default=False, description="Take what was made before of the same bytes by the same step."
    )
    completion_window: CompletionWindow | None = None


class BatchRequest(RootModel[LinesRequest | SourceRequest]):
    """The body of `POST /v1/batches`."""
