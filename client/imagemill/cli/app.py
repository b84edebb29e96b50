"""The commands put together, and every error as one line and an exit status.

0: done; 1: a job did not succeed, or a result could not be saved; 2: wrong usage, including a
missing local file and whatever the service refuses; 3: the service cannot be reached or used;
130: interrupted.
"""

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from imagemill.cli import batch, jobs, kinds, listings, panorama, score
from imagemill.cli.show import note
from imagemill.errors import ApiError, ImagemillError, InvalidInput, ServiceUnavailable
from imagemill.version import __version__

app = typer.Typer(
    name="imagemill",
    help="Submit jobs to an imagemill service and fetch what they make.\n\n"
    "The service is the one at $IMAGEMILL_URL (http://127.0.0.1:8080 if unset); "
    "$IMAGEMILL_API_KEY is the key for it, where it asks for one.",
    pretty_exceptions_enable=False,
)
kinds.add_to(app)
app.add_typer(panorama.app, name="panorama")
app.add_typer(jobs.app, name="jobs")
app.add_typer(batch.app, name="batch")
app.add_typer(listings.models, name="models")
app.command()(listings.workers)
app.command()(score.score)


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"imagemill {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Options of the whole command line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # captions may be in any script
            stream.reconfigure(errors="backslashreplace")
    try:
        status = app(arguments, prog_name="imagemill", standalone_mode=False)
    except typer.TyperException as error:
        note(f"{error.format_message()} Try 'imagemill --help'.")
        return error.exit_code
    except typer.Abort:
        return 130
    except ImagemillError as error:
        note(error)
        return exit_status(error)
    except OSError as error:
        note(error)
        return 1
    return status or 0


def exit_status(error: ImagemillError) -> int:
    """What an error means to the shell."""
    match error:
        case InvalidInput():
            return 2
        case ApiError(status=status):
            return 2 if 400 <= status < 500 and status != 429 else 3
        case ServiceUnavailable():
            return 3
        case _:
            return 1
