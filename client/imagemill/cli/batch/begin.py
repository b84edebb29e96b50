"""From what was asked to a batch: what the service lacks is uploaded, then it is created."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import typer

from imagemill import Client
from imagemill.batch_records import Batch
from imagemill.cli.batch.folder import Refusal
from imagemill.cli.batch.progress import progress
from imagemill.cli.batch.sources import endpoint_of, source_of, upload_source
from imagemill.cli.batch.state import RunState
from imagemill.cli.show import note
from imagemill.errors import ServiceUnavailable
from imagemill.inputs import Upload

DAY = "24h"  # the completion window of a file of request lines, which must have one

Match = Literal["name", "random"]


@dataclass(frozen=True)
class Asked:
    """One source or, with a `match`, two; the job of every item, or None where the source holds
    whole requests; and further fields of the request, None where they are not given."""

    sources: Sequence[str]
    match: Match | None
    job: Mapping[str, Any] | None
    options: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Equal for what is asked again in the same way."""
        places = [s if s.startswith("s3://") else str(Path(s).resolve()) for s in self.sources]
        return digest([places, self.match, self.job, self.options])


def begin(client: Client, state: RunState, asked: Asked, total: int) -> str:
    """The id of the batch, which is the same one for the same request.

    `total` is the number of pictures in local folders. Raises InvalidInput, ApiError,
    ServiceUnavailable, and ImagemillError where no picture of a folder is of any use.
    """
    state["asked"] = asked.digest
    state.forget_refusals()
    try:
        request = (
            _lines(client, asked) if asked.job is None else _items(client, state, asked, total)
        )
        batch = _created(client, request)
    except (KeyboardInterrupt, ServiceUnavailable) as error:
        note("interrupted; the same command goes on from here")
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise
    state["batch"] = batch.id
    state.save()
    return batch.id


def _created(client: Client, request: Mapping[str, Any]) -> Batch:
    """The batch that was created for an equal request, unless its source was of no use then."""
    key = digest(request)
    while (batch := client.batches.create(**request, idempotency_key=key)).status == "failed":
        key = digest([key, batch.id])
    return batch


def _lines(client: Client, asked: Asked) -> dict[str, Any]:
    """The request of a batch over a file of requests."""
    [source] = asked.sources
    return {
        **asked.options,
        "endpoint": endpoint_of(source),
        "input_file_id": upload_source(client, Path(source)),
        "completion_window": asked.options["completion_window"] or DAY,
    }


def _items(client: Client, state: RunState, asked: Asked, total: int) -> dict[str, Any]:
    """The request of a batch of one job for every item."""
    assert asked.job is not None
    given = {
        name: client.files.upload(value.source).id if isinstance(value, Upload) else value
        for name, value in asked.job["input"].items()
    }
    source, *second = _sources(client, state, asked.sources, total)
    if second:
        source = {"type": "pairs", "first": source, "second": second[0], "match": asked.match}
    return {**asked.options, "source": source, "job": {**asked.job, "input": given}}


def _sources(
    client: Client, state: RunState, given: Sequence[str], total: int
) -> list[dict[str, Any]]:
    looked_at = 0

    def refuse(name: str, refusal: Refusal) -> None:
        state.refuse(name, refusal.code, refusal.message)

    def tell(name: str, refusal: Refusal) -> None:
        note(f"{name}: {refusal.message}")  # it is no item, only another one's partner

    with progress() as show:

        def on_progress(before: int, done: int) -> None:
            nonlocal looked_at
            looked_at = before + done
            show("uploading", looked_at, total, "")

        return [
            source_of(client, text, state, hear, partial(on_progress, looked_at))
            for text, hear in zip(given, (refuse, tell), strict=False)
        ]


def digest(value: Any) -> str:
    """Equal for equal JSON; of a picture that is to be uploaded, its place counts."""
    text = json.dumps(value, sort_keys=True, default=lambda upload: str(upload.source))
    return hashlib.sha256(text.encode()).hexdigest()
