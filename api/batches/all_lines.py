"""The lines of all chunks of a batch in the source's order, with a few chunks of them in memory."""

from collections.abc import Generator, Iterable, Iterator
from heapq import merge

from api.batches.shards import (
    Line,
    never_ran,
    number_of,
    parsed,
    refusal,
    source_lines,
    stored_text,
    text_of,
)
from api.services import Services
from shared.batches import BatchRecord
from shared.closings import closings
from shared.contracts import CHUNK
from shared.layout import errors_folder, errors_key, results_key, shard_place
from shared.parallel import parallel_map

READ_AHEAD = 4  # chunks


class AllLines:
    """What became of the items, as far as chunks are closed when this is made: line by line, or
    the lines of a chunk at once as they lie in S3. Each method raises StorageUnavailable."""

    def __init__(self, services: Services, batch: BatchRecord) -> None:
        self._store = services.store
        self._batch = batch
        self._closed = closings(self._store, batch.id)
        listed = self._store.list(errors_folder(batch.id))
        failed = {shard_place(entry.key) for entry in listed}
        self._failed = self._closed.items() & failed

    def results(self, first: int = 0) -> Generator[Line, None, None]:
        """From the item with this number on."""
        for line in _each(self.result_texts(first // CHUNK)):
            if number_of(line) >= first:
                yield line

    def result_texts(self, first: int = 0) -> Iterator[bytes]:
        """From the chunk with this number on."""

        def text(closed: tuple[int, int]) -> bytes:
            return stored_text(self._store, results_key(self._batch.id, *closed))

        wanted = (each for each in self._closed.items() if each[0] >= first)
        return parallel_map(text, wanted, READ_AHEAD)

    def error_texts(self) -> Iterator[bytes]:
        """Of the closed chunks."""
        return self._error_texts(sorted(chunk for chunk, _ in self._failed))

    def all_error_texts(self) -> Iterator[bytes]:
        """Of an ended batch: an item that never ran is an error."""
        assert self._batch.chunks is not None
        failed = {chunk for chunk, _ in self._failed}
        every = range(self._batch.chunks)
        return self._error_texts([c for c in every if c in failed or c not in self._closed])

    def all(self) -> Iterator[Line]:
        """Of an ended batch: one for every item."""
        return merge(self.results(), _each(self.all_error_texts()), key=number_of)

    def _error_texts(self, chunks: list[int]) -> Iterator[bytes]:
        def text(chunk: int) -> bytes:
            if chunk in self._closed:
                return stored_text(
                    self._store, errors_key(self._batch.id, chunk, self._closed[chunk])
                )
            never = never_ran(self._batch)
            sources = source_lines(self._store, self._batch.id, chunk)
            return text_of(refusal(self._batch.id, source, never) for source in sources)

        return parallel_map(text, chunks, READ_AHEAD)


def _each(texts: Iterable[bytes]) -> Iterator[Line]:
    for text in texts:
        yield from parsed(text)
