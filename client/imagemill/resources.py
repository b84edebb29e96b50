"""The groups of calls that hang on a client: `client.jobs` and `client.files`."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote
from uuid import uuid4

from imagemill.errors import InvalidInput, ServiceUnavailable
from imagemill.inputs import as_upload, split_input
from imagemill.records import File, Job, JobPage
from imagemill.transport import Transport

LONGEST_WAIT = 60  # s; what the service accepts in `Prefer: wait`
MOST_KNOWN = 1000  # digests that the service looks up at once
SLOWEST_STORE = 8 * 2**20  # bytes/s; an upload is answered once it lies in the storage


def segment(value: str) -> str:
    """A value as one segment of a path."""
    return quote(value, safe="")


class Jobs:
    """Submitting, reading, listing and canceling jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        kind: str,
        models: Mapping[str, str] | None = None,
        priority: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
        wait: float | None = None,
        **fields: Any,
    ) -> Job:
        """Submits a job and returns it as accepted.

        `fields` are the input of the kind. A picture is a path, bytes, a binary file object,
        or a reference that the service knows (`file_…`, `data:image/…`, `s3://…`).

        `models` maps a family to a model, `priority` is "interactive" or "bulk", and a job that
        has not ended `deadline_s` seconds from now is given up. With `wait`, the service answers
        when the job has ended, or after so many seconds (60 at most).

        Two calls with the same `idempotency_key` give one job; without one a fresh key is
        drawn, so that sending again after a lost connection cannot make a second job.

        Raises InvalidInput, ApiError, ServiceUnavailable.
        """
        given, uploads = split_input(kind, fields)
        job: dict[str, Any] = {"kind": kind, "input": given}
        options = {
            "models": models,
            "priority": priority,
            "metadata": metadata,
            "deadline_s": deadline_s,
        }
        job.update({name: value for name, value in options.items() if value is not None})
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        seconds = min(LONGEST_WAIT, math.ceil(wait or 0))
        if seconds > 0:
            headers["Prefer"] = f"wait={seconds}"
        return Job.of(
            self._transport.json(
                "POST",
                "/v1/jobs",
                body=None if uploads else job,
                form={"job": json.dumps(job)} if uploads else None,
                uploads=uploads,
                headers=headers,
                patience=seconds,
            )
        )

    def get(self, job: Job | str) -> Job:
        """The job as it is now."""
        return Job.of(self._transport.json("GET", job_path(job)))

    def list(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> JobPage:
        """One page of jobs, newest first; `after` is the `next` of the page before."""
        params = {"status": status, "kind": kind, "limit": limit, "after": after}
        answer = self._transport.json("GET", "/v1/jobs", params=params)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise ServiceUnavailable("the answer holds no list of jobs")
        jobs = [Job.of(job) for job in answer["data"]]
        return JobPage(jobs, bool(answer.get("has_more")), answer.get("next"))

    def iterate(self, *, status: str | None = None, kind: str | None = None) -> Iterator[Job]:
        """All jobs, page by page as they are asked for."""
        after = None
        while True:
            page = self.list(status=status, kind=kind, after=after)
            yield from page.data
            if not page.has_more or page.next is None:
                return
            after = page.next

    def cancel(self, job: Job | str) -> Job:
        """Asks for the end of a job; one that has ended already stays as it is."""
        return Job.of(self._transport.json("POST", f"{job_path(job)}/cancel"))


class Files:
    """Files that are uploaded once and used by several jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, file: str | Path | bytes | IO[bytes], purpose: str = "image") -> File:
        """Uploads a path, bytes or a binary file object; `purpose` is "image", "batch" or
        "dataset". The same bytes for the same purpose give the same id."""
        upload = as_upload("file", Path(file) if isinstance(file, str) else file)
        if upload is None:
            raise InvalidInput(f"file: a {type(file).__name__} is no file")
        answer = self._transport.json(
            "POST",
            "/v1/files",
            form={"purpose": purpose},
            uploads=[upload],
            patience=upload.size / SLOWEST_STORE,
        )
        return File.of(answer)

    def known(self, sha256s: Iterable[str], purpose: str = "image") -> dict[str, str]:
        """The ids, by SHA-256, of those files that need no upload."""
        asked, known = list(dict.fromkeys(sha256s)), {}
        for start in range(0, len(asked), MOST_KNOWN):
            some = asked[start : start + MOST_KNOWN]
            body = {"purpose": purpose, "sha256": some}
            answer = self._transport.json("POST", "/v1/files/known", body=body)
            if not isinstance(answer, dict) or not isinstance(answer.get("known"), dict):
                raise ServiceUnavailable("the answer does not say which files are known")
            known.update(answer["known"])
        return known

    def get(self, file_id: str) -> File:
        """What the service knows of a file."""
        return File.of(self._transport.json("GET", file_path(file_id)))

    def content(self, file_id: str) -> bytes:
        """The bytes of a file."""
        target = BytesIO()
        self._transport.fetch(f"{file_path(file_id)}/content", target)
        return target.getvalue()

    def delete(self, file_id: str) -> None:
        """Deletes a file; one that a job still needs goes when that job ends."""
        self._transport.json("DELETE", file_path(file_id))


def job_path(job: Job | str) -> str:
    """Where a job is found."""
    return f"/v1/jobs/{segment(job if isinstance(job, str) else job.id)}"


def file_path(file_id: str) -> str:
    """Where a file is found."""
    return f"/v1/files/{segment(file_id)}"
