"""`imagemill batch run`: from a source to a folder of results."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from imagemill import Client
from imagemill.cli.batch import sources
from imagemill.cli.batch.begin import Asked, Match, begin
from imagemill.cli.batch.follow import follow, watching
from imagemill.cli.batch.output import Out, Output
from imagemill.cli.batch.state import RunState
from imagemill.cli.batch.template import template
from imagemill.cli.kinds import Languages
from imagemill.cli.run import Json, pairs
from imagemill.cli.show import note, print_json
from imagemill.errors import ApiError, InvalidInput


def run(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder, a zip, tar or tar.gz, s3://bucket/prefix/, or a .jsonl file: of "
            "variables, or without --kind of requests. Two of them with --pairs.",
        ),
    ],
    out: Out,
    kind: Annotated[str | None, typer.Option(help="What is done with each picture.")] = None,
    match: Annotated[
        Match | None, typer.Option("--pairs", help="What the second source's partner is found by.")
    ] = None,
    translate_to: Languages = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Of the kind's input: a number, text, JSON, or a picture's file; $image and $name "
            "are the item's. Repeatable.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="FAMILY=NAME", help="Choose a model; repeatable.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Keep with it; repeatable.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output-prefix", metavar="s3://…/", help="Leave the pictures there."),
    ] = None,
    reuse: Annotated[bool, typer.Option("--reuse", help="Take what was made before.")] = False,
    start_at: Annotated[str | None, typer.Option(help="Like 2026-03-01T22:00:00+01:00.")] = None,
    window: Annotated[str | None, typer.Option(help="Run only then, like 22:00-06:00.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of the window, like Europe/Berlin.")] = None,
    completion_window: Annotated[
        str | None, typer.Option(metavar="24h", help="Give up what has not run by then.")
    ] = None,
    paused: Annotated[
        bool, typer.Option("--paused", help="Only create it: read its forecast, then resume it.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run whose results are in OUT.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Print the batch's id and return at once.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a job for every picture of a folder, and bring the results here.

    The pictures that the service lacks are uploaded first.
    An interrupted run goes on with the same command, and Ctrl-C
    leaves a batch that was begun running.
    """
    options = {
        "output": output,
        "reuse": reuse or None,
        "metadata": pairs("--metadata", metadata or ()) or None,
        "start_at": start_at,
        "window": window,
        "timezone": timezone,
        "completion_window": completion_window,
        "paused": paused or None,
    }
    job = template(given, kind, match, fields or (), translate_to or (), model or ())
    asked = Asked(given, match, job, options)
    counts = [sources.count(text) for text in given if sources.form_of(text) == "folder"]
    places = Output.at(out)
    with Client() as client:
        with closing(RunState(places.state)) as state:
            batch_id = begun(client, state, asked, out, resume=resume)
            if batch_id is None:
                batch_id = begin(client, state, asked, sum(counts))
        if not no_wait and not paused:
            if status := follow(client, batch_id, out, as_json=as_json):
                raise typer.Exit(status)
            return
        batch = client.batches.get(batch_id)
    print_json(batch.raw) if as_json else print(batch.id)
    note(f"to follow it: {watching(batch.id, out)}")


def begun(client: Client, state: RunState, asked: Asked, out: Path, *, resume: bool) -> str | None:
    """The batch that the folder's run has led to, if it is still of use.

    Raises InvalidInput where it is the one of another run, or goes on only if asked to.
    """
    batch_id = state["batch"]
    if batch_id is None:
        return None
    if state["asked"] != asked.digest:
        raise InvalidInput(f"--out {out}: the results of another run lie there, of {batch_id}")
    if not resume:
        raise InvalidInput(f"--out {out}: {batch_id} was begun there; --resume goes on with it")
    try:
        return None if client.batches.get(batch_id).status == "failed" else batch_id
    except ApiError as error:
        if error.status == 404:
            return None
        raise
