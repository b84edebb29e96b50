"""Every error that the client raises on purpose, under one base."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagemill.batch_records import Batch
    from imagemill.records import Job


class ImagemillError(Exception):
    """Base of all errors of this package."""


class InvalidInput(ImagemillError):
    """The call cannot be sent as it stands: a local file cannot be read, the URL is no URL."""


class ServiceUnavailable(ImagemillError):
    """The service, or its storage, cannot be reached, is something else, or cannot work now.

    Raised when the retries are used up. Nothing is known of a request whose answer got lost;
    `jobs.create` with the same `idempotency_key` finds the job or makes it.
    """


class ApiError(ImagemillError):
    """The service refused a request.

    `status` is the HTTP status, `code` the stable name of the problem, `message` its
    explanation, and `errors` the wrong fields as `{"pointer": …, "detail": …}`.
    """

    def __init__(
        self, status: int, code: str, message: str, errors: Sequence[Mapping[str, str]] = ()
    ) -> None:
        super().__init__(status, code, message, errors)
        self.status = status
        self.code = code
        self.message = message
        self.errors = list(errors)

    def __str__(self) -> str:
        fields = (f"{e.get('pointer', '')}: {e.get('detail', '')}" for e in self.errors)
        return "; ".join(fields) or self.message


class JobFailed(ImagemillError):
    """The job ended without success: it failed, was canceled or expired. `job` tells more."""

    def __init__(self, job: "Job") -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        error = self.job.error
        if error is None:
            return f"{self.job.id} {self.job.status}"
        where = f" (step {error.step})" if error.step else ""
        return f"{self.job.id} {self.job.status}{where}: {error.code}: {error.message}"


class BatchFailed(ImagemillError):
    """A batch could not begin: its source is of no use. `batch` tells more."""

    def __init__(self, batch: "Batch") -> None:
        super().__init__(batch)
        self.batch = batch

    def __str__(self) -> str:
        told = "; ".join(problem.message for problem in self.batch.problems)
        return f"{self.batch.id} failed: {told or 'its source is of no use'}"


class WaitTimeout(ImagemillError):
    """What was waited for had not ended when the time given to `wait` was over; it goes on.

    `job` is the job, or the batch.
    """

    def __init__(self, job: "Job | Batch", timeout: float) -> None:
        super().__init__(job, timeout)
        self.job = job
        self.timeout = timeout

    def __str__(self) -> str:
        return f"{self.job.id} is still {self.job.status} after {self.timeout:g} s"


class IntegrityError(ImagemillError):
    """A downloaded file is not the one that the job recorded."""
