"""A chunk's lines in S3: those of its index, and what became of them.

Results and errors are kept by the items' numbers, so that what is done again takes the place of
what was there. A line says how its item ended, as OpenAI's output files have it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from shared.batches import BatchRecord, BatchStatus
from shared.closings import closing
from shared.contracts import CHUNK, JobError
from shared.errors import ImagemillError, NotFound
from shared.item_jobs import item_job_id
from shared.layout import chunk_key, errors_key, refused_key, results_key
from shared.object_store import ObjectStore

JSON_LINES = "application/jsonl"

Line = dict[str, Any]

LOST = JobError(code=ImagemillError.code, message="the ledger has lost this item")
ENDED_EARLY = {
    BatchStatus.CANCELLED: JobError(
        code="batch_cancelled", message="the batch was cancelled before this item had run"
    ),
    BatchStatus.EXPIRED: JobError(
        code="batch_expired", message="the batch's time was over before this item had run"
    ),
}


@dataclass
class Shards:
    """What became of a chunk's items, by their numbers; no number is in both."""

    results: dict[int, Line] = field(default_factory=dict)
    errors: dict[int, Line] = field(default_factory=dict)

    @classmethod
    def read(
        cls, store: ObjectStore, batch_id: str, chunk: int, opening: int | None = None
    ) -> "Shards":
        """Those of the chunk's latest closing, empty where there was none; of one that is open
        again with what was refused under this `opening`. Raises StorageUnavailable."""
        shards, closed = cls(), closing(store, batch_id, chunk)
        if closed is not None:
            shards.results = by_number(read(store, results_key(batch_id, chunk, closed)))
            shards.errors = by_number(read(store, errors_key(batch_id, chunk, closed)))
        if opening is not None:
            for number, line in by_number(
                read(store, refused_key(batch_id, chunk, opening))
            ).items():
                shards.put(number, line)
        return shards

    def put(self, number: int, line: Line) -> None:
        """How the item ended, in place of an earlier end."""
        self.results.pop(number, None)
        self.errors.pop(number, None)
        (self.results if line["error"] is None else self.errors)[number] = line

    def write(self, store: ObjectStore, batch_id: str, chunk: int, opening: int) -> None:
        """The results come last: where they lie, every item has its line. Raises
        StorageUnavailable."""
        if self.errors:
            store.put(errors_key(batch_id, chunk, opening), _sorted(self.errors), JSON_LINES)
        store.put(results_key(batch_id, chunk, opening), _sorted(self.results), JSON_LINES)

    def __contains__(self, number: int) -> bool:
        return number in self.results or number in self.errors


def write_refused(
    store: ObjectStore, batch_id: str, chunk: int, opening: int, lines: Mapping[int, Line]
) -> None:
    """Keep the lines of items that cannot be run for the chunk's closing. Raises
    StorageUnavailable."""
    store.put(refused_key(batch_id, chunk, opening), _sorted(lines), JSON_LINES)


def numbers(batch: BatchRecord, chunk: int) -> range:
    """The items of a chunk."""
    assert batch.counts.total is not None
    return range(chunk * CHUNK, min((chunk + 1) * CHUNK, batch.counts.total))


def source_lines(store: ObjectStore, batch_id: str, chunk: int) -> list[Line]:
    """The chunk's lines as the source had them. Raises NotFound, StorageUnavailable."""
    return list(parsed(store.get(chunk_key(batch_id, chunk))))


def never_ran(batch: BatchRecord) -> JobError:
    """Of an item that the batch's end found without a line."""
    return ENDED_EARLY.get(BatchStatus(batch.ends_as), LOST)


def refusal(batch_id: str, source: Mapping[str, Any], error: JobError) -> Line:
    """The line of an item that never ran."""
    said = {"code": error.code, "message": error.message}
    if source.get("line") is not None:
        said["line"] = source["line"]
    return outcome(batch_id, source["number"], source["custom_id"], None, said)


def outcome(
    batch_id: str,
    number: int,
    custom_id: str | None,
    job: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> Line:
    """The line of an item; `job` as GET /v1/jobs/{id} shows it."""
    response = None
    if job is not None:
        response = {"status_code": 200, "request_id": item_job_id(batch_id, number), "body": job}
    return {
        "id": f"batch_req_{batch_id.removeprefix('batch_')}-{number:08}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }


def by_number(lines: Iterable[Line]) -> dict[int, Line]:
    """The lines of results or errors by the numbers of their items."""
    return {number_of(line): line for line in lines}


def number_of(line: Line) -> int:
    """The item's number."""
    return int(line["id"].rpartition("-")[2])


def read(store: ObjectStore, key: str) -> Iterator[Line]:
    """The lines of an object, none where it is not there. Raises StorageUnavailable."""
    return parsed(stored_text(store, key))


def stored_text(store: ObjectStore, key: str) -> bytes:
    """The JSON lines of an object, none where it is not there. Raises StorageUnavailable."""
    try:
        return store.get(key)
    except NotFound:
        return b""


def parsed(text: bytes) -> Iterator[Line]:
    """JSON lines as they were before `text_of`."""
    return map(from_json, text.splitlines())


def text_of(lines: Iterable[Line]) -> bytes:
    """As JSON lines."""
    return b"".join(to_json(line) + b"\n" for line in lines)


def _sorted(lines: Mapping[int, Line]) -> bytes:
    return text_of(lines[number] for number in sorted(lines))
