"""Client of imagemill, a self-hosted job queue for image models.

from imagemill import Client

with Client() as client:
    job = client.jobs.create(kind="blend", first="a.png", second="b.png")
    client.download(client.wait(job), "out")
"""

from imagemill.batch_records import Batch, BatchCounts, BatchLine, BatchPage, BatchProblem
from imagemill.client import Client
from imagemill.errors import (
    ApiError,
    BatchFailed,
    ImagemillError,
    IntegrityError,
    InvalidInput,
    JobFailed,
    ServiceUnavailable,
    WaitTimeout,
)
from imagemill.records import (
    Artifact,
    File,
    Job,
    JobError,
    JobPage,
    Model,
    Progress,
    Step,
    Urls,
    Worker,
)
from imagemill.version import __version__

__all__ = [
    "ApiError",
    "Artifact",
    "Batch",
    "BatchCounts",
    "BatchFailed",
    "BatchLine",
    "BatchPage",
    "BatchProblem",
    "Client",
    "File",
    "ImagemillError",
    "IntegrityError",
    "InvalidInput",
    "Job",
    "JobError",
    "JobFailed",
    "JobPage",
    "Model",
    "Progress",
    "ServiceUnavailable",
    "Step",
    "Urls",
    "WaitTimeout",
    "Worker",
    "__version__",
]
