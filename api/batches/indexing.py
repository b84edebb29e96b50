"""The index of a batch: its source's lines, numbered and cut into chunks in S3.

A line of a chunk is `{"number", "custom_id", "line"?}` with one of `variables` (for the batch's
template), `body` (of a request) and `error` (`code`, `message`).
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic_core import to_json

from api.batches.sources import Line, lines
from api.batches.sources.disk_table import DiskTable
from api.batches.sources.line import LineError, is_custom_id
from api.services import Services
from shared.batches import BatchProblem, BatchRecord, BatchStatus
from shared.coco import InvalidDataset
from shared.contracts import CHUNK
from shared.errors import InvalidArchive, InvalidRequest, NotFound
from shared.layout import chunk_key, chunks_folder
from shared.parallel import parallel_map

THREADS = 4  # that write chunks
LOOK = 16  # chunks between two looks at whether the batch is wanted yet
JSON_LINES = "application/jsonl"
USELESS = (InvalidArchive, InvalidDataset, InvalidRequest, NotFound)


class _NotWanted(Exception):
    """The batch was canceled meanwhile."""


class _Changed(Exception):
    """The source is not what it was when the chunks that are there were written."""


def index(services: Services, batch: BatchRecord) -> BatchRecord:
    """Write the chunks of a batch that is being validated; those that are there already stay.

    The batch is in progress then, has failed, or was canceled meanwhile. Raises NotFound where it
    was deleted, StorageUnavailable, LedgerUnavailable: to be called again.
    """
    ledger = services.ledger
    try:
        try:
            indexed = _Index(services, batch, _written(services, batch)).write()
        except _Changed:
            indexed = _Index(services, batch, 0).write()
    except _NotWanted:
        return ledger.batch(batch.id)
    except USELESS as error:
        return _fail(services, batch, error.code, error.message)
    if not indexed.total:
        return _fail(services, batch, "empty_source", "there is no item in the source")
    return ledger.indexed(batch.id, indexed.chunks, indexed.total, indexed.bytes)


def _fail(services: Services, batch: BatchRecord, code: str, message: str) -> BatchRecord:
    param = "input_file_id" if "input_file_id" in batch.request else "source"
    problem = BatchProblem(code=code, message=message, param=param)
    return services.ledger.fail_batch(batch.id, [problem])


def _written(services: Services, batch: BatchRecord) -> int:
    """How many chunks are there, from the first one on without a gap."""
    count = 0
    for entry in services.store.list(chunks_folder(batch.id)):
        if entry.key != chunk_key(batch.id, count):
            break
        count += 1
    return count


class _Index:
    """The chunks of one reading of the source, of which the first `written` are there."""

    def __init__(self, services: Services, batch: BatchRecord, written: int) -> None:
        self.chunks = self.total = self.bytes = 0
        self._services = services
        self._batch = batch
        self._written = written
        self._ids = DiskTable()

    def write(self) -> "_Index":
        for _ in parallel_map(self._put, self._missing(), THREADS):
            pass
        return self

    def _put(self, chunk: tuple[int, bytes]) -> None:
        number, data = chunk
        self._services.store.put(chunk_key(self._batch.id, number), data, JSON_LINES)

    def _missing(self) -> Iterator[tuple[int, bytes]]:
        source = lines(self._services, self._batch)
        while chunk := [self._checked(line) for line in islice(source, CHUNK)]:
            number = self.chunks
            self._look(number)
            if number >= self._written - 1:
                data = b"".join(
                    encoded(self.total + place, line) for place, line in enumerate(chunk)
                )
                if number >= self._written:
                    yield number, data
                # Equal there, equal before: else an item could be left out, or be there twice.
                elif data != self._services.store.get(chunk_key(self._batch.id, number)):
                    raise _Changed
            self.chunks += 1
            self.total += len(chunk)
            self.bytes += sum(line.bytes for line in chunk)
        if self.chunks < self._written:
            raise _Changed

    def _look(self, number: int) -> None:
        if number % LOOK == 0:
            status = self._services.ledger.batch(self._batch.id).status
            if status is not BatchStatus.VALIDATING:
                raise _NotWanted

    def _checked(self, line: Line) -> Line:
        """The line, or an error in its place, where its custom_id is of no use or was seen."""
        custom_id, error = line.custom_id, line.error
        if not is_custom_id(custom_id):
            shown = "none" if custom_id is None else repr(custom_id)[:100]
            message = f"the custom_id must be a text that is not too long, and is {shown}"
            return Line(
                None, error=error or LineError("invalid_custom_id", message), line=line.line
            )
        if not self._ids.add(custom_id):
            error = error or LineError("duplicate_custom_id", "another item has the same one")
            return Line(custom_id, error=error, line=line.line)
        return line


def encoded(number: int, line: Line) -> bytes:
    """A line of a chunk."""
    entry: dict[str, Any] = {"number": number, "custom_id": line.custom_id}
    if line.line is not None:
        entry["line"] = line.line
    if line.error:
        entry["error"] = {"code": line.error.code, "message": line.error.message}
    elif line.body is not None:
        entry["body"] = line.body
    else:
        entry["variables"] = {**(line.variables or {}), "index": str(number)}
    return to_json(entry) + b"\n"
