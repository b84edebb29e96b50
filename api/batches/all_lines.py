"""The lines of all chunks of a batch in the source's order, with a few chunks of them in memory."""

from collections.abc import Generator, Iterator
from heapq import merge

from api.batches.shards import (
    Line,
    by_number,
    never_ran,
    number_of,
    read,
    refusal,
    source_lines,
)
from api.services import Services
from shared.batches import BatchRecord
from shared.closings import closings
from shared.contracts import CHUNK
from shared.layout import errors_folder, errors_key, results_key, shard_place
from shared.parallel import parallel_map

READ_AHEAD = 4  # chunks


class AllLines:
    """What became of the items, as far as chunks are closed when this is made. Each method raises
    StorageUnavailable."""

    def __init__(self, services: Services, batch: BatchRecord) -> None:
        self._store = services.store
        self._batch = batch
        self._closed = closings(self._store, batch.id)
        listed = self._store.list(errors_folder(batch.id))
        failed = {shard_place(entry.key) for entry in listed}
        self._failed = self._closed.items() & failed

    def results(self, first: int = 0) -> Generator[Line, None, None]:
        """From the item with this number on."""

        def lines(closed: tuple[int, int]) -> list[Line]:
            found = by_number(read(self._store, results_key(self._batch.id, *closed)))
            return [line for number, line in found.items() if number >= first]

        wanted = (each for each in self._closed.items() if each[0] >= first // CHUNK)
        for some in parallel_map(lines, wanted, READ_AHEAD):
            yield from some

    def errors(self) -> Iterator[Line]:
        """Of the closed chunks."""
        yield from self._errors(sorted(chunk for chunk, _ in self._failed))

    def all_errors(self) -> Iterator[Line]:
        """Of an ended batch: an item that never ran is an error."""
        assert self._batch.chunks is not None
        failed = {chunk for chunk, _ in self._failed}
        every = range(self._batch.chunks)
        yield from self._errors([c for c in every if c in failed or c not in self._closed])

    def all(self) -> Iterator[Line]:
        """Of an ended batch: one for every item."""
        return merge(self.results(), self.all_errors(), key=number_of)

    def _errors(self, chunks: list[int]) -> Iterator[Line]:
        def lines(chunk: int) -> list[Line]:
            if chunk in self._closed:
                key = errors_key(self._batch.id, chunk, self._closed[chunk])
                return list(read(self._store, key))
            never = never_ran(self._batch)
            sources = source_lines(self._store, self._batch.id, chunk)
            return [refusal(self._batch.id, source, never) for source in sources]

        for some in parallel_map(lines, chunks, READ_AHEAD):
            yield from some
