"""/v1/jobs: submit, poll, list, cancel, erase, and fetch what a job made."""

import time
from typing import Any

from flask import Response, redirect, request
from flask_openapi import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api import body, present, schemas, submission, waiting
from api.replies import problems, reply
from api.services import TENANT, services
from shared.contracts import JobRecord, JobStatus
from shared.errors import NotFound
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


class SubmitHeaders(PollHeaders):
    key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        pattern=r"^[\x20-\x7e]{1,255}$",
        description="Repeating a request with its key gives the same job, for 24 hours.",
    )


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: JobStatus | None = None
    kind: str | None = None
    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(
        default=None, pattern=r"^\d{1,15}$", description="`next` of the page before."
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_blank(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value != ""}


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


@api.get("", responses={200: schemas.JobList, **problems()}, operation_id="listJobs")
def listing(query: ListQuery) -> Response:
    """List jobs, newest first."""
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
    """One job."""
    return _waited(_find(path.job_id), {}, unfinished=200)


@api.post(
    "/<job_id>/cancel", responses={200: schemas.Job, **problems(404)}, operation_id="cancelJob"
)
def cancel(path: JobPath) -> Response:
    """Cancel a job; one that has ended stays as it is."""
    _find(path.job_id)
    return reply(_present(services().ledger.cancel(path.job_id)))


@api.delete("/<job_id>", responses={204: None, **problems(404)}, operation_id="deleteJob")
def delete(path: JobPath) -> Response:
    """End a job and erase everything it made."""
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
    found = next((a for a in _find(path.job_id).artifacts if a.name == path.name), None)
    if found is None:
        raise NotFound(f"no such artifact: {path.name}")
    return _stored(found.key, found.name, found.media_type)


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


def _stored(key: str, name: str, media_type: str) -> Any:
    """The way to an object's presigned address."""
    response = redirect(services().store.presigned_get(key, LINK_LIFE_S, name, media_type))
    response.headers["Cache-Control"] = "no-store"
    return response


def _find(job_id: str) -> JobRecord:
    job = services().ledger.get(job_id)
    if job.tenant != TENANT:
        raise NotFound(f"no such job: {job_id}")
    return job


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
    return present.job(job, request.url_root, position, now_ms=int(time.time() * 1000))


def _url(job: JobRecord) -> str:
    return f"{request.url_root}v1/jobs/{job.id}"
