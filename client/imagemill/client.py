"""The client of one service."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from imagemill.batches import Batches
from imagemill.errors import ApiError, JobFailed, ServiceUnavailable
from imagemill.records import Artifact, Job, Model, Record, Worker
from imagemill.resources import Files, Jobs, job_path, segment
from imagemill.saving import replacing, safe_name, save
from imagemill.transport import Transport
from imagemill.waiting import until_done

DEFAULT_URL = "http://127.0.0.1:8080"

RecordT = TypeVar("RecordT", bound=Record)


class Client:
    """A connection to an imagemill service; close it, or use it as a context manager.

    `url` and `api_key` default to the environment's IMAGEMILL_URL (else http://127.0.0.1:8080)
    and IMAGEMILL_API_KEY. `timeout` (s) is for one answer. A request that finds no service, or
    a busy one, is sent again up to `retries` times with growing pauses, 8 s in all by default.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 5,
    ) -> None:
        self.url = (url or os.environ.get("IMAGEMILL_URL") or DEFAULT_URL).strip().rstrip("/")
        key = (api_key or os.environ.get("IMAGEMILL_API_KEY") or "").strip()
        self._transport = Transport(self.url, key or None, timeout, retries)
        self.jobs = Jobs(self._transport)
        self.files = Files(self._transport)
        self.batches = Batches(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def wait(
        self,
        job: Job | str,
        on_progress: Callable[[Job], object] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """The job once it has succeeded, looking at it every 0.1 s at first, then every second.

        `on_progress` is called with the job at first and whenever its state has changed.
        Raises JobFailed where it ended otherwise, and WaitTimeout after `timeout` seconds.
        """
        ended = until_done(lambda: self.jobs.get(job), on_progress, timeout)
        if not ended.succeeded:
            raise JobFailed(ended)
        return ended

    def download(self, job: Job | str, folder: str | Path) -> list[Path]:
        """Saves the files that the job has made so far, and returns where they lie.

        The folder is made where it is missing; a file of the same name is kept if it is the same,
        or replaced, and only by a complete one. Raises IntegrityError where the bytes are not those
        that the job recorded.
        """
        job = self.jobs.get(job) if isinstance(job, str) else job
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return [self._save(job, artifact, folder) for artifact in job.artifacts]

    def _save(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        path = folder / safe_name(artifact.name, job.id)
        address = f"{job_path(job)}/artifacts/{segment(artifact.name)}"
        save(self._transport, address, path, artifact.sha256, f"{artifact.name} of {job.id}")
        return path

    def preview(self, job: Job | str, path: str | Path) -> bool:
        """Saves what has come so far of a running job's picture; False where there is nothing.

        A file of that name is replaced, and only by a complete one.
        """
        try:
            with replacing(Path(path)) as file:
                self._transport.fetch(f"{job_path(job)}/preview", file)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def models(self) -> list[Model]:
        """The models that a job may name."""
        return self._listing("/v1/models", Model)

    def workers(self) -> list[Worker]:
        """The live workers."""
        return self._listing("/v1/workers", Worker)

    def _listing(self, path: str, record: type[RecordT]) -> list[RecordT]:
        answer: Any = self._transport.json("GET", path)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise ServiceUnavailable(f"{self.url}{path} does not answer like an imagemill service")
        return [record.of(item) for item in answer["data"]]
