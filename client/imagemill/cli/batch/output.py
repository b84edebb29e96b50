"""Where the results of a batch lie on this machine, and how they come there."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from imagemill import Client
from imagemill.batch_records import Batch, BatchLine
from imagemill.cli.show import note
from imagemill.errors import ImagemillError, InvalidInput, ServiceUnavailable
from imagemill.parallel import in_parallel

JSON_LINES = ".jsonl"

Out = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder for the results, or NAME.jsonl for their lines."),
]


@dataclass(frozen=True)
class Output:
    """Places in a folder, or beside a file `NAME.jsonl`."""

    results: Path
    errors: Path
    report: Path
    images: Path  # a folder, and in it one for every item
    state: Path  # of the run, so that it can go on

    @classmethod
    def at(cls, out: Path) -> "Output":
        """Makes the folder. Raises InvalidInput where it cannot be."""
        single = out.suffix == JSON_LINES
        folder = out.parent if single else out
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"--out {out}: {error.strerror}") from None
        if single:
            return cls(
                results=out,
                errors=out.with_suffix(f".errors{JSON_LINES}"),
                report=out.with_suffix(".html"),
                images=out.with_suffix(".images"),
                state=folder / f".{out.stem}.batch",
            )
        return cls(
            results=out / f"results{JSON_LINES}",
            errors=out / f"errors{JSON_LINES}",
            report=out / "report.html",
            images=out / "images",
            state=out / ".batch",
        )


def download(
    client: Client,
    batch: Batch,
    output: Output,
    refused: Iterator[BatchLine],
    on_progress: Callable[[int], object],
) -> list[Path]:
    """Saves what the batch has made so far, but for what lies there whole, and tells where.

    `refused` are the lines of items that the service has never had; `on_progress` is called with
    the number of items whose pictures are here. Raises ImagemillError where a picture could not
    be saved, after all others have been. Pictures that the batch puts into S3 stay there.
    """
    client.batches.save(batch, "results", output.results)
    client.batches.save(batch, "errors", output.errors)
    with output.errors.open("a", encoding="utf-8") as errors:
        for line in refused:
            errors.write(json.dumps(line.raw, ensure_ascii=False) + "\n")
    lost = 0
    lines = iter(()) if batch.raw.get("output") else _lines(output.results)
    saved = in_parallel(lambda line: _save_pictures(client, line, output), lines)
    for number, problem in enumerate(saved, start=1):
        if problem:
            lost += 1
            note(problem)
        on_progress(number)
    client.batches.report(batch, output.report)
    if lost:
        raise ImagemillError(f"the pictures of {lost} items of {batch.id} could not be saved")
    return [output.results, *filter(_has_content, [output.errors]), output.report]


def _save_pictures(client: Client, line: BatchLine, output: Output) -> str:
    """Why they could not be saved; empty if they are."""
    job = line.job
    if job and job.artifacts:
        folder = output.images.joinpath(*map(_segment, str(line.custom_id).split("/")))
        try:
            client.download(job, folder)
        except ServiceUnavailable:
            raise
        except (ImagemillError, OSError, ValueError) as error:
            return f"{line.custom_id}: {error}"
    return ""


def _segment(text: str) -> str:
    """A folder's name that does not lead elsewhere, as the service makes them for its storage."""
    return f"%{text}" if text.lstrip("%") in ("", ".", "..") else text


def _lines(path: Path) -> Iterator[BatchLine]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield BatchLine.of(json.loads(line))


def _has_content(path: Path) -> bool:
    return path.stat().st_size > 0
