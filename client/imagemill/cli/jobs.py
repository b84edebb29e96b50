"""`imagemill jobs`: listing, showing, canceling and following jobs."""

from collections.abc import Iterator
from typing import Annotated

import typer

from imagemill import Client
from imagemill.cli.run import Json, Out, Preview, check_preview, follow, make_folder
from imagemill.cli.show import note, print_json, print_rows, result_lines
from imagemill.records import Job

app = typer.Typer(help="List, show, cancel and follow jobs.")

JobId = Annotated[str, typer.Argument(metavar="JOB")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB...")]


@app.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Start there.")] = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with Client() as client:
        page = client.jobs.list(status=status, kind=kind, limit=limit, after=after)
    if as_json:
        jobs = [job.raw for job in page.data]
        print_json({"data": jobs, "has_more": page.has_more, "next": page.next})
        return
    print_rows(
        ("JOB", "KIND", "STATUS", "DONE", "CREATED"),
        (
            (job.id, job.kind, job.status, f"{job.progress.value:.0%}", job.created_at)
            for job in page.data
        ),
    )
    if page.has_more:
        note(f"there are more: --after {page.next}")


@app.command()
def show(job: JobId, as_json: Json = False) -> None:
    """Show a job."""
    with Client() as client:
        found = client.jobs.get(job)
    if as_json:
        print_json(found.raw)
    else:
        print_rows(("", ""), details(found))


@app.command()
def cancel(jobs: JobIds, as_json: Json = False) -> None:
    """Cancel jobs; one that has ended stays as it is."""
    with Client() as client:
        for job in jobs:
            canceled = client.jobs.cancel(job)
            print_json(canceled.raw) if as_json else print(canceled.id, canceled.status)


@app.command()
def watch(jobs: JobIds, out: Out = None, preview: Preview = None, as_json: Json = False) -> None:
    """Follow jobs to their end and print their results."""
    make_folder(out)
    check_preview(preview)
    with Client() as client:
        found = [(job, client.jobs.get(job)) for job in dict.fromkeys(jobs)]
        if status := follow(client, found, out, preview, as_json=as_json, always_save=False):
            raise typer.Exit(status)


def details(job: Job) -> Iterator[tuple[str, object]]:
    """A job as lines of name and value."""
    yield "job", job.id
    yield "kind", job.kind
    yield "status", job.status
    yield "progress", f"{job.progress.value:.0%} {job.progress.message or ''}".rstrip()
    if job.queue_position is not None:
        yield "queue position", job.queue_position
    for name in ("created_at", "started_at", "finished_at", "expires_at"):
        if time := getattr(job, name):
            yield name.removesuffix("_at"), time
    for step in job.steps:
        spent = "" if step.run_ms is None else f", {step.run_ms / 1000:.1f} s"
        yield f"step {step.name}", f"{step.status}, {step.family} {step.model}{spent}"
    if job.error:
        yield "error", f"{job.error.code}: {job.error.message}"
    for name, value in job.metadata.items():
        yield f"metadata {name}", value
    for line in filter(None, result_lines(job)):
        yield "text", line
    for artifact in job.artifacts:
        yield "file", artifact.url or artifact.name
