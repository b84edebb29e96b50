"""The client of one service."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

from imagemill.errors import (
    ApiError,
    ImagemillError,
    IntegrityError,
    JobFailed,
    ServiceUnavailable,
    WaitTimeout,
)
from imagemill.records import Artifact, Job, Model, Record, Worker
from imagemill.resources import Files, Jobs, job_path, segment
from imagemill.transport import Transport

DEFAULT_URL = "http://127.0.0.1:8080"
FIRST_POLL, LONGEST_POLL = 0.1, 1.0  # s between two looks at a job

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
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, seen = FIRST_POLL, None
        while True:
            now = self.jobs.get(job)
            if on_progress and now.raw != seen:
                on_progress(now)
                seen = now.raw
            if now.succeeded:
                return now
            if now.done:
                raise JobFailed(now)
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WaitTimeout(now, timeout or 0.0)
                pause = min(pause, left)
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL)

    def download(self, job: Job | str, folder: str | Path) -> list[Path]:
        """Saves the files that the job has made so far, and returns where they lie.

        The folder is made where it is missing; a file of the same name is replaced, and only
        by a complete one. Raises IntegrityError where the bytes are not those that the job
        recorded.
        """
        job = self.jobs.get(job) if isinstance(job, str) else job
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return [self._save(job, artifact, folder) for artifact in job.artifacts]

    def _save(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        if not artifact.name.strip(".") or set(artifact.name) & set("/\\\0"):
            raise ImagemillError(f"{job.id} has a file of the unsafe name {artifact.name!r}")
        path = folder / artifact.name
        with replacing(path) as file:
            self._transport.fetch(f"{job_path(job)}/artifacts/{segment(artifact.name)}", file)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != artifact.sha256:
                raise IntegrityError(
                    f"{artifact.name} of {job.id} has the SHA-256 {digest}, "
                    f"not the recorded {artifact.sha256}"
                )
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


@contextmanager
def replacing(path: Path) -> Iterator[BufferedRandom]:
    """A new file that takes the place of `path` in the end, unless something was raised."""
    part = path.parent / f".{uuid4().hex}.part"
    try:
        with part.open("w+b") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
