"""The commands of `imagemill batch`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from imagemill import Client
from imagemill.batch_records import Batch
from imagemill.batches import Batches
from imagemill.cli.batch.follow import fetch, follow
from imagemill.cli.batch.output import Out, Output
from imagemill.cli.batch.progress import duration, progress
from imagemill.cli.batch.run import run
from imagemill.cli.run import Json
from imagemill.cli.show import note, print_json, print_rows

app = typer.Typer(help="Run many jobs at once, follow and steer them.")
app.command()(run)

BatchId = Annotated[str, typer.Argument(metavar="BATCH")]
BatchIds = Annotated[list[str], typer.Argument(metavar="BATCH...")]


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Start there.")] = None,
    as_json: Json = False,
) -> None:
    """List batches, newest first."""
    with Client() as client:
        page = client.batches.list(limit=limit, after=after)
    if as_json:
        batches = [batch.raw for batch in page.data]
        print_json({"data": batches, "has_more": page.has_more, "next": page.next})
        return
    print_rows(
        ("BATCH", "STATUS", "ITEMS", "DONE", "FAILED", "CREATED"),
        (
            (b.id, b.status, b.counts.total, b.counts.completed, b.counts.failed, at(b.created_at))
            for b in page.data
        ),
    )
    if page.has_more:
        note(f"there are more: --after {page.next}")


@app.command()
def status(batch: BatchId, as_json: Json = False) -> None:
    """Show a batch."""
    with Client() as client:
        found = client.batches.get(batch)
    if as_json:
        print_json(found.raw)
    else:
        print_rows(("", ""), details(found))


@app.command()
def watch(batch: BatchId, out: Out, as_json: Json = False) -> None:
    """Follow a batch to its end, and bring its results here."""
    with Client() as client:
        if status := follow(client, batch, out, as_json=as_json):
            raise typer.Exit(status)


@app.command()
def results(
    batch: BatchId,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder, or NAME.jsonl; else print lines.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Print the failed items.")] = False,
) -> None:
    """Print or save the results so far."""
    with Client() as client:
        if out is None:
            for line in (client.batches.errors if errors else client.batches.results)(batch):
                print_json(line.raw)
            return
        with progress() as show:
            files, _ = fetch(client, client.batches.get(batch), Output.at(out), show)
    for file in files:
        print(file)


@app.command()
def report(
    batch: BatchId,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")] = Path(
        "report.html"
    ),
) -> None:
    """Save the report on a batch, one HTML page."""
    with Client() as client:
        client.batches.report(batch, out)
    print(out)


@app.command()
def forecast(batch: BatchId, as_json: Json = False) -> None:
    """Tell how long the rest of a batch will take."""
    with Client() as client:
        told = client.batches.forecast(batch)
    if as_json:
        print_json(told)
    else:
        print_rows(("", ""), expected(told))


def steering(act: Callable[[Batches, str], Batch], help_: str) -> Callable[..., None]:
    """A command that does something to batches and prints their new states."""

    def command(batches: BatchIds, as_json: Json = False) -> None:
        with Client() as client:
            for batch in batches:
                now = act(client.batches, batch)
                print_json(now.raw) if as_json else print(now.id, now.status)

    command.__doc__ = help_
    return command


app.command("pause")(steering(Batches.pause, "Start no more items of batches."))
app.command("resume")(steering(Batches.resume, "Let paused batches go on."))
app.command("cancel")(steering(Batches.cancel, "End batches; what they have made is kept."))
app.command("retry")(steering(Batches.retry, "Do the failed items of ended batches again."))


def details(batch: Batch) -> Iterator[tuple[str, object]]:
    """A batch as lines of name and value."""
    counts = batch.counts
    yield "batch", batch.id
    yield "status", batch.status
    yield "items", counts.total
    yield "completed", counts.completed
    yield "failed", counts.failed
    for code, failed in sorted(batch.error_codes.items()):
        yield f"failed {code}", failed
    if batch.rate:
        yield "rate", f"{batch.rate:.3g}/s"
    if batch.eta_s is not None:
        yield "time left", duration(batch.eta_s)
    for name in ("created_at", "completed_at", "next_start", "expires_at"):
        if moment := getattr(batch, name):
            yield name.removesuffix("_at").replace("_", " "), at(moment)
    for problem in batch.problems:
        place = f" (line {problem.line})" if problem.line else ""
        yield "problem", f"{problem.code}: {problem.message}{place}"
    for name, value in batch.metadata.items():
        yield f"metadata {name}", value


def expected(told: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """A forecast as lines of name and value; what is not known has none."""
    for name in ("items", "items_left", "basis", "model_loads", "read_bytes", "write_bytes"):
        yield name.replace("_", " "), told.get(name)
    if rate := told.get("rate"):
        yield "rate", f"{rate:.3g}/s"
    if (seconds := told.get("seconds")) is not None:
        yield "time left", duration(seconds)
    if finish_at := told.get("finish_at"):
        yield "finish", at(finish_at)
    truth = told.get("truth") or {}
    if truth.get("median_ratio"):
        batches = len(truth["earlier"])
        yield "earlier", f"{batches} batches took {truth['median_ratio']:.2f} times the forecast"


def at(moment: int) -> str:
    """A time as in the listings of jobs."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
