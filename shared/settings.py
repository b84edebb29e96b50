"""Settings: the environment, read once at start, prefix `IMAGEMILL_`."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import SettingsError

PREFIX = "IMAGEMILL_"


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]  # separated by commas


class Settings(BaseSettings):
    """Every setting with a default that fits one machine. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", allow_inf_nan=False
    )

    ledger_url: str = "redis://127.0.0.1:6379/0"
    broker_url: str = "redis://127.0.0.1:6380/0"
    s3_endpoint: str = "http://127.0.0.1:8333"
    s3_public_endpoint: str = ""  # the address clients use; s3_endpoint when empty
    s3_input_prefixes: Words = ()
    s3_output_prefixes: Words = ()  # where batches may put their pictures
    s3_bucket: str = "imagemill"
    s3_access_key: str = ""
    s3_secret_key: str = ""
    s3_region: str = "us-east-1"
    models_dir: Path = Path("~/.local/share/imagemill/models")
    profile: str = "tiny"
    memory_gb: float = Field(default=0, ge=0)  # of a worker's models; 0: by its device
    auth: Literal["off"] = "off"
    max_upload_mb: int = Field(default=64, ge=1)
    max_batch_mb: int = Field(default=20_480, ge=1)  # of an upload with the purpose `batch`
    max_pixels: int = Field(default=100_000_000, ge=1)
    dataset_gb: float = Field(default=20, gt=0)  # of pictures for training below an S3 prefix
    url_inputs: Literal["off"] = "off"
    safety: Literal["off", "flag", "block"] = "flag"
    safety_threshold: float = Field(default=0.8, ge=0, le=1)  # from this score on
    retention_days: float = Field(default=7, gt=0)
    lease_s: float = Field(default=60, ge=0.5)
    max_attempts: int = Field(default=3, ge=1)
    step_timeout_s: float = Field(default=3600, gt=0)
    savepoint_s: float = Field(default=60, gt=0)  # between those of a step that keeps them
    model_wait_s: float = Field(default=600, gt=0)
    admit_per_queue: int = Field(default=64, ge=1)
    shutdown_grace_s: float = Field(default=25, ge=0)
    watchdog_s: float = Field(default=30, gt=0)
    orphan_s: float = Field(default=7200, gt=0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("models_dir", mode="after")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    @property
    def public_endpoint(self) -> str:
        return self.s3_public_endpoint or self.s3_endpoint


SettingsT = TypeVar("SettingsT", bound=Settings)


def load(kind: type[SettingsT]) -> SettingsT:
    """Read the environment; a bad value raises SettingsError with the variable's name."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']}") from None


def load_settings() -> Settings:
    """The settings of every process of the service. Raises SettingsError."""
    return load(Settings)
