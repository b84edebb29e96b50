"""Waiting for a batch, and bringing its results here."""

import shlex
from contextlib import closing
from pathlib import Path

import typer

from imagemill import Client
from imagemill.batch_records import Batch
from imagemill.cli.batch.output import Output, download
from imagemill.cli.batch.progress import Show, progress, show_batch
from imagemill.cli.batch.state import RunState
from imagemill.cli.show import note, print_json
from imagemill.errors import IntegrityError, ServiceUnavailable

PATIENCE = 1800.0  # s that the service may be away while a batch is waited for


def follow(client: Client, batch_id: str, out: Path, *, as_json: bool) -> int:
    """Waits for the end of a batch and saves what it has made; 1 if that is not all.

    Ctrl-C leaves the batch running.
    """
    output = Output.at(out)
    try:
        with progress() as show:
            batch = client.batches.wait(
                batch_id, lambda batch: show_batch(show, batch), patience=PATIENCE
            )
            files, refused = fetch(client, batch, output, show)
    except (KeyboardInterrupt, IntegrityError, ServiceUnavailable) as error:
        note(f"no longer waiting; to go on: {watching(batch_id, out)}")
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise
    if as_json:
        print_json({**batch.raw, "refused": refused, "files": [str(file) for file in files]})
    else:
        for file in files:
            print(file)
    counts = batch.counts
    if lost := counts.total - counts.completed:
        note(
            f"{lost} of {counts.total} items have no result; to do them again: "
            f"imagemill batch retry {batch.id} && {watching(batch.id, out)}"
        )
    if refused:
        note(f"not uploaded: {refused} ({output.errors} tells why)")
    return int(bool(lost or refused))


def fetch(client: Client, batch: Batch, output: Output, show: Show) -> tuple[list[Path], int]:
    """Saves what a batch has made so far: the files, and how many items were never uploaded."""
    with closing(RunState(output.state)) as state:
        own = state["batch"] == batch.id
        lines = state.refused() if own else iter(())
        total = batch.counts.completed
        files = download(
            client, batch, output, lines, lambda done: show("saving results", done, total, "")
        )
        return files, state.refusals() if own else 0


def watching(batch_id: str, out: Path) -> str:
    """The command that goes on with it."""
    return f"imagemill batch watch {batch_id} -o {shlex.quote(str(out))}"
