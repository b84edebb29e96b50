"""Submitting the jobs of a command, following them, and handing out their results."""

import inspect
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from imagemill import Client
from imagemill.cli.show import TEXT_OUTPUT, note, print_json, progress_of, result_lines
from imagemill.errors import ApiError, IntegrityError, InvalidInput, JobFailed, ServiceUnavailable
from imagemill.inputs import split_input
from imagemill.records import Job

Inputs = Sequence[dict[str, Any]]  # of one job each

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the files it makes.")]
Preview = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Keep the newest intermediate picture there, if there is one."
    ),
]


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """`["a=b", …]` as a dictionary."""
    for item in given:
        if "=" not in item:
            raise InvalidInput(f"{option} {item}: expected KEY=VALUE")
    return dict(item.split("=", 1) for item in given)


def make_folder(out: Path | None) -> None:
    """Makes the folder for results before there are any. Raises InvalidInput."""
    try:
        if out:
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--out {out}: {error.strerror}") from None


def check_preview(file: Path | None) -> None:
    """Raises InvalidInput where no such file can be made."""
    if file and (file.is_dir() or not file.parent.is_dir()):
        raise InvalidInput(f"--preview {file}: no file can be made there")


def run_jobs(
    kind: str,
    inputs: Inputs,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the pictures; else one named after the job."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="FAMILY=NAME", help="Choose a model; repeatable.")
    ] = None,
    bulk: Annotated[bool, typer.Option("--bulk", help="Let interactive jobs go first.")] = False,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Keep with the job; repeatable.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Give up if not ended by then.")
    ] = None,
    preview: Preview = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Print the job's id and return at once.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Submits one job per input, then follows them in this order."""
    options: dict[str, Any] = {
        "models": pairs("--model", model or ()) or None,
        "metadata": pairs("--metadata", metadata or ()) or None,
        "priority": "bulk" if bulk else None,
        "deadline_s": deadline,
    }
    for fields in inputs:
        split_input(kind, fields)  # no job is submitted where a file is missing
    make_folder(out)
    check_preview(preview)
    with Client() as client:
        jobs: list[tuple[str, Job]] = []
        refused = 0
        for fields in inputs:
            label = str(fields.get("image", ""))
            try:
                job = client.jobs.create(kind=kind, **options, **fields)
            except ApiError as error:
                if len(inputs) == 1 or error.status not in (400, 413, 415, 422):
                    raise
                note(f"{label}: {error}" if label else error)
                refused = 2
                continue
            jobs.append((label, job))
            if no_wait:
                print_json(job.raw) if as_json else print(job.id, flush=True)
        failed = 0
        if not no_wait:
            failed = follow(client, jobs, out, preview, as_json=as_json, always_save=True)
    if status := failed or refused:
        raise typer.Exit(status)


def follow(
    client: Client,
    jobs: Sequence[tuple[str, Job]],
    out: Path | None,
    preview: Path | None,
    *,
    as_json: bool,
    always_save: bool,
) -> int:
    """Waits for labelled jobs in turn and prints each one's results; 1 if one did not succeed.

    Files go to `out`; without it, to a folder named after the job if `always_save`, and else
    only their addresses are printed. Where the result is a text, files are only for `out`.
    `preview` is the file for the newest intermediate picture.
    Ctrl-C leaves the jobs running.
    """
    status = 0
    for index, (label, job) in enumerate(jobs):
        mark = f"{label}\t" if label and len(jobs) > 1 else ""
        says = job.kind in TEXT_OUTPUT  # its text is the result, whatever else it stored
        folder = out or (Path(job.id) if always_save and not says else None)
        try:
            with progress_of(job.id) as show:
                job = client.wait(job, with_preview(client, preview, show) if preview else show)
            files = client.download(job, folder) if folder and job.artifacts else []
        except JobFailed as error:
            status = 1
            note(f"{label}: {error}" if mark else error)
            if as_json:
                print_json(error.job.raw)
            continue
        except (KeyboardInterrupt, IntegrityError, ServiceUnavailable) as error:
            left = " ".join(job.id for _, job in jobs[index:])
            target = f" -o {shlex.quote(str(out))}" if out else ""
            note(f"no longer waiting; to go on: imagemill jobs watch {left}{target}")
            if isinstance(error, KeyboardInterrupt):
                raise typer.Exit(130) from None
            raise
        if as_json:
            print_json({**job.raw, "files": [str(file) for file in files]})
            continue
        for line in result_lines(job):
            print(f"{mark}{line}")
        for file in files or (() if folder or says else (a.url for a in job.artifacts)):
            print(f"{mark}{file}")
        sys.stdout.flush()
    return status


def with_preview(
    client: Client, file: Path, show: Callable[[Job], object]
) -> Callable[[Job], None]:
    """`show`, and then the file is renewed. That it cannot be had is no reason to stop waiting."""

    def on_progress(job: Job) -> None:
        show(job)
        if not job.done:
            with suppress(ApiError, ServiceUnavailable):
                client.preview(job, file)

    return on_progress


def job_command(kind: str, make_inputs: Callable[..., Inputs]) -> Callable[..., None]:
    """A command out of a function from its own parameters to the inputs of jobs.

    The command takes the function's parameters and the options that all kinds share, which are
    those of `run_jobs`.
    """
    own = inspect.signature(make_inputs).parameters
    common = dict(inspect.signature(run_jobs).parameters)
    del common["kind"], common["inputs"]

    def command(**given: Any) -> None:
        inputs = make_inputs(**{name: given.pop(name) for name in own})
        run_jobs(kind, [{k: v for k, v in each.items() if v != []} for each in inputs], **given)

    command.__doc__ = make_inputs.__doc__
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=p.KEYWORD_ONLY) for p in (*own.values(), *common.values())]
    )
    return command
