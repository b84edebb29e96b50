"""/v1/jobs: submit, poll, list, cancel, erase, and fetch what a job made."""

import time
from typing import Any, Self

from flask import Response, redirect, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api import body, present, schemas, submission, waiting
from api.batches import items
from api.replies import problems, reply
from api.services import TENANT, services
from shared.contracts import JobRecord, JobStatus
from shared.errors import Conflict, NotFound
from shared.layout import preview_key

LINK_LIFE_S = 3600

api = APIBlueprint("jobs", __name__, url_prefix="/v1/jobs", abp_tags=[Tag(name="jobs")])


class JobPath(BaseModel):
    job_id: str = Field(description="`job_…`")


class ArtifactPath(JobPath):
    name: str = Field(description="As in `outputs.artifacts`.")


class PollHeaders(BaseModel):
    prefer: str | None = Field(
        default=None,
        alias="Prefer",
        description=f"`wait=N`: answer when the job has ended, after N seconds at the latest "
        f"(≤ {waiting.MAX_WAIT_S}).",
    )


class KeyHeaders(BaseModel):
    key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        pattern=r"^[\x20-\x7e]{1,255}$",
        description="Repeating a request with its key gives what it gave first, for 24 hours.",
    )


class SubmitHeaders(KeyHeaders, PollHeaders):
    """Of a submission that may wait."""


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: JobStatus | None = None
    kind: str | None = None
    batch_id: str | None = Field(
        default=None, description="The items of this batch, in input order; without a filter."
    )
    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(
        default=None, pattern=r"^\d{1,15}$", description="`next` of the page before."
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_blank(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value != ""}

    @model_validator(mode="after")
    def _unfiltered(self) -> Self:
        if self.batch_id and (self.status or self.kind):
            raise ValueError("a batch's items cannot be filtered by status or kind")
        return self


_BODY, _SCHEMAS = body.documented()
api.components_schemas.update(_SCHEMAS)


@api.post(
    "",
    request_body=_BODY,
    responses={202: schemas.Job, 200: schemas.Job, **problems(400, 413, 415)},
    operation_id="submitJob",
)
def submit(header: SubmitHeaders) -> Response:
    """Submit a job. Once this answers 202 the job is on disk; 200 is a job that was waited for."""
    submitted = submission.submit(services(), body.read(request), header.key)
    job = services().ledger.get(submitted.job_id)
    headers = {"Location": _url(job)}
    if not submitted.created:
        headers["Idempotent-Replayed"] = "true"
    return _waited(job, headers, unfinished=202)


@api.get("", responses={200: schemas.JobList, **problems(404)}, operation_id="listJobs")
def listing(query: ListQuery) -> Response:
    """List jobs, newest first, or the items of one batch."""
    if query.batch_id:
        after = -1 if query.after is None else int(query.after)
        jobs, last = items.page(services(), query.batch_id, after, query.limit, _now_ms())
        following = None if last is None else str(last)
        return reply(schemas.JobList(data=jobs, has_more=last is not None, next=following))
    page = services().ledger.jobs(
        TENANT, status=query.status, kind=query.kind, limit=query.limit, after=query.after
    )
    return reply(
        schemas.JobList(
            data=[_present(job) for job in page.jobs],
            has_more=page.next is not None,
            next=page.next,
        )
    )


@api.get("/<job_id>", responses={200: schemas.Job, **problems(404)}, operation_id="getJob")
def show(path: JobPath, header: PollHeaders) -> Response:
    """One job, or an item of a batch."""
    if item := _item(path.job_id):
        return reply(item.view)
    return _waited(_find(path.job_id), {}, unfinished=200)


@api.post(
    "/<job_id>/cancel",
    responses={200: schemas.Job, **problems(404, 409)},
    operation_id="cancelJob",
)
def cancel(path: JobPath) -> Response:
    """Cancel a job; one that has ended stays as it is."""
    _refuse_item(path.job_id)
    _find(path.job_id)
    return reply(_present(services().ledger.cancel(path.job_id)))


@api.delete("/<job_id>", responses={204: None, **problems(404, 409)}, operation_id="deleteJob")
def delete(path: JobPath) -> Response:
    """End a job and erase everything it made."""
    _refuse_item(path.job_id)
    _find(path.job_id)
    services().ledger.delete(path.job_id)
    return Response(status=204)


@api.get(
    "/<job_id>/artifacts/<name>",
    responses={302: {"description": "To the presigned address"}, **problems(404)},
    operation_id="getArtifact",
)
def artifact(path: ArtifactPath) -> Any:
    """A file that the job made, by way of a presigned address."""
    if item := _item(path.job_id):
        place = item.files.get(path.name)
    else:
        made = (a for a in _find(path.job_id).artifacts if a.name == path.name)
        place = next((items.Place("", a.key, a.media_type) for a in made), None)
    if place is None:
        raise NotFound(f"no such artifact: {path.name}")
    return _stored(place.key, path.name, place.media_type, place.bucket)


@api.get(
    "/<job_id>/preview",
    responses={302: {"description": "To the presigned address"}, **problems(404)},
    operation_id="getPreview",
)
def preview(path: JobPath) -> Any:
    """What has come of the running step so far, as JPEG; a new picture every few seconds."""
    key = preview_key(_find(path.job_id))
    if not services().store.exists(key):
        raise NotFound("there is no preview: the job does not run, or shows none, or none yet")
    return _stored(key, "preview.jpg", "image/jpeg")


def _stored(key: str, name: str, media_type: str, bucket: str = "") -> Any:
    """The way to an object's presigned address."""
    response = redirect(services().store.presigned_get(key, LINK_LIFE_S, name, media_type, bucket))
    response.headers["Cache-Control"] = "no-store"
    return response


def _find(job_id: str) -> JobRecord:
    job = services().ledger.get(job_id)
    if job.tenant != TENANT or job.batch:  # the ledger's own way to run a batch's items
        raise NotFound(f"no such job: {job_id}")
    return job


def _item(job_id: str) -> items.ItemJob | None:
    return items.find(services(), job_id, _now_ms())


def _refuse_item(job_id: str) -> None:
    if _item(job_id):
        raise Conflict("an item of a batch ends with its batch: cancel or delete that")


def _waited(job: JobRecord, headers: dict[str, str], unfinished: int) -> Response:
    """The job, after the wait that the client prefers."""
    seconds = waiting.preferred(request.headers.get("Prefer", ""))
    status = unfinished
    if seconds is not None:
        job = waiting.wait(services(), job, seconds)
        headers["Preference-Applied"] = f"wait={seconds}"
        status = 200 if job.status.terminal else unfinished
    return reply(_present(job), status, headers)


def _present(job: JobRecord) -> schemas.Job:
    position = submission.position(services(), job)
    return present.job(job, request.url_root, position, _now_ms())


def _now_ms() -> int:
    return int(time.time() * 1000)


def _url(job: JobRecord) -> str:
    return f"{request.url_root}v1/jobs/{job.id}"
