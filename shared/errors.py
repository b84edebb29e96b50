"""Every error that imagemill raises on purpose, under one base.

`code` is the stable name that clients see, in a problem document or in a job's `error`.
The API maps the classes to HTTP statuses (`api/errors.py`); the worker reads `retryable`
and `burns_attempt` to decide what the ledger is told.
"""

from collections.abc import Mapping
from typing import Any


class ImagemillError(Exception):
    """Base of all errors. `retryable`: another try of the same step may succeed."""

    code = "internal_error"
    retryable = False
    burns_attempt = True

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnexpectedError(ImagemillError):
    """A defect: something failed that no other error describes; the log has the details."""

    retryable = True


class SettingsError(ImagemillError):
    """A setting has a value that cannot be used; the message names the variable."""

    code = "invalid_settings"


class InvalidRequest(ImagemillError):
    """The request does not fit its kind; `errors` is a list of {pointer, detail}."""

    code = "invalid_request"

    def __init__(self, message: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []

    @classmethod
    def at(cls, pointer: str, detail: str) -> "InvalidRequest":
        """One wrong field, named by its JSON pointer in the request."""
        return cls.at_each({pointer: detail})

    @classmethod
    def at_each(cls, wrong: Mapping[str, str]) -> "InvalidRequest":
        """Several wrong fields: what is wrong, by JSON pointer."""
        errors = [{"pointer": pointer, "detail": detail} for pointer, detail in wrong.items()]
        return cls("; ".join(f"{pointer}: {detail}" for pointer, detail in wrong.items()), errors)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.errors)


class InvalidImage(ImagemillError):
    """The bytes are not an image that can be used: not an image, truncated, too large."""

    code = "invalid_image"


class InvalidArchive(ImagemillError):
    """The bytes are not an archive that can be used: damaged, too large, or not safe to unpack."""

    code = "invalid_archive"


class NotFound(ImagemillError):
    """No such job, file or artifact."""

    code = "not_found"


class TooLarge(ImagemillError):
    """The upload is over the limit."""

    code = "too_large"


class Conflict(ImagemillError):
    """What was asked for is not possible in the state that it is in."""

    code = "conflict"


class ChunkClosed(ImagemillError):
    """The chunk of a batch that a job was to belong to is not open any more under that opening."""

    code = "chunk_closed"


class IdempotencyConflict(ImagemillError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_key_reused"


class ModelNotAvailable(ImagemillError):
    """The model is registered, but its files are not here or no live worker serves it."""

    code = "model_not_available"


class HostUnavailable(ModelNotAvailable):
    """A hosted model does not answer, has no capacity, or its quota is used up for now."""

    retryable = True
    burns_attempt = False


class OutOfMemory(ImagemillError):
    """The device or the host had too little memory for the step, even for one sample alone."""

    code = "out_of_memory"


class ModelProcessDied(ImagemillError):
    """The model process ended (a signal, a crash) while it ran this item alone."""

    code = "poison"
    retryable = True


class PredictionFailed(ImagemillError):
    """The model raised on this item; the same item would raise again."""

    code = "prediction_failed"


class TrainingDiverged(ImagemillError):
    """A loss or gradient of a training is no longer a number."""

    code = "training_diverged"


class PromptRejected(ImagemillError):
    """What was read and edited is no prompt: nothing is left of it, or too much."""

    code = "prompt_rejected"


class DeadlineExceeded(ImagemillError):
    """The job's deadline, or the step's time limit, passed while it ran."""

    code = "deadline_exceeded"


class StorageUnavailable(ImagemillError):
    """S3 does not answer, refuses for now, or breaks off."""

    code = "storage_unavailable"
    retryable = True
    burns_attempt = False


class StorageCorrupt(ImagemillError):
    """S3 serves an object whole, but its bytes are not those that were stored."""

    code = "storage_corrupt"
    retryable = True


class LedgerUnavailable(ImagemillError):
    """The ledger does not answer or cannot write: what was asked of it may not have happened."""

    code = "ledger_unavailable"
    retryable = True
    burns_attempt = False


class DiskFull(ImagemillError):
    """No space is left where the step writes its temporary files."""

    code = "disk_full"
    retryable = True
    burns_attempt = False


class StepCanceled(ImagemillError):
    """The item was canceled; its result is discarded."""

    code = "canceled"


class StepInterrupted(ImagemillError):
    """The worker is shutting down; the step is released to another worker."""

    code = "interrupted"


class LeaseLost(ImagemillError):
    """Another worker holds the step now; this one's result must not be recorded."""

    code = "lease_lost"
