"""The results of a batch as WebDataset: tar shards, whose members of one key are one item.

An item's key is its number, of eight digits. `{key}.json` is its result line, `{key}.{name}` every
file that it made, and `{key}.input.{ext}` the picture that it was made from, as it was given
(`{key}.input-{field}.{ext}`, where there are several). What was erased since is left out.
"""

import hashlib
import json
import tarfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, groupby, islice
from typing import Any

from pydantic_core import to_json

from api.batches.all_lines import AllLines
from api.batches.outputs import names
from api.batches.planning import look
from api.batches.shards import Line, number_of, source_lines
from api.planning import Checked
from api.services import Services
from api.uploads import given_picture
from shared import images
from shared.batches import BatchRecord
from shared.contents import Contents
from shared.contracts import CHUNK
from shared.errors import ImagemillError, LedgerUnavailable, NotFound, StorageUnavailable
from shared.layout import output_place, picture_place, shard_index_key
from shared.parallel import parallel_map

ITEMS, BYTES = 10_000, 10**9  # of a shard, at most; but one item at least
AT_ONCE = 4  # items that are read; four times as many may wait in memory
END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Shard:
    """What is known of a whole one: it holds `items` from the number `first` on and before
    `after`, as many as fit if it is `full`. `lines` is the SHA-256 of their lines."""

    first: int
    after: int
    items: int
    full: bool
    lines: str
    bytes: int


@dataclass(frozen=True)
class Entry:
    """An item on its way into a shard: its line, and its members by name."""

    number: int
    line: bytes
    members: list[tuple[str, bytes]]

    @property
    def bytes(self) -> int:
        return sum(len(data) + tarfile.BLOCKSIZE for _, data in self.members)


def write(services: Services, batch: BatchRecord, lines: AllLines) -> dict[str, Any]:
    """Write the shards; those that are there and would be the same stay. → `shards`, `items` and
    `bytes`, how many. Raises NotFound, StorageUnavailable, LedgerUnavailable."""
    writer, found = _Writer(services, batch, lines), list[Shard]()
    after = 0
    while shard := writer.kept(len(found), after) or writer.written(len(found), after):
        found.append(shard)
        after = shard.after
    sums = {name: sum(getattr(shard, name) for shard in found) for name in ("items", "bytes")}
    return {"shards": len(found), **sums}


class _Writer:
    def __init__(self, services: Services, batch: BatchRecord, lines: AllLines) -> None:
        self._services = services
        self._store = services.store
        self._batch = batch
        self._lines = lines
        self._mtime = batch.created_at // 1000
        self._contents = Contents(services.ledger, self._store, services.settings.max_upload_mb)

    def kept(self, number: int, first: int) -> Shard | None:
        """The shard, where it is there whole and would not be another one now."""
        bucket, key = output_place(self._batch, names.shard(number))
        try:
            shard = Shard(**json.loads(self._store.get(shard_index_key(self._batch.id, number))))
            same = shard.first == first and self._store.head(key, bucket).bytes == shard.bytes
        except NotFound:
            return None
        lines, digest = self._lines.results(first), hashlib.sha256()
        with closing(lines):
            for line in islice(lines, shard.items if same else 0):
                digest.update(to_json(line))
            grown = not shard.full and next(lines, None) is not None
        return shard if digest.hexdigest() == shard.lines and not grown else None

    def written(self, number: int, first: int) -> Shard | None:
        """A new shard; None where no item is left."""
        bucket, key = output_place(self._batch, names.shard(number))
        with closing(self._entries(first)) as entries:
            head = next(entries, None)
            if head is None:
                return None
            packer = _Packer(self._mtime)
            blocks = packer.blocks(chain([head], entries))
            media_type = names.media_type(self._batch, names.shard(number))
            _, size = self._store.put_stream(key, blocks, media_type, bucket=bucket)
        shard = Shard(
            first, packer.last + 1, packer.items, packer.full, packer.lines.hexdigest(), size
        )
        text = json.dumps(asdict(shard)).encode()
        self._store.put(shard_index_key(self._batch.id, number), text, "application/json")
        return shard

    def _entries(self, first: int) -> Generator[Entry, None, None]:
        chunks = groupby(self._lines.results(first), lambda line: number_of(line) // CHUNK)
        asked = chain.from_iterable(self._asked(chunk, list(some)) for chunk, some in chunks)
        yield from parallel_map(self._entry, asked, AT_ONCE)

    def _asked(self, chunk: int, results: list[Line]) -> Iterator[tuple[Line, dict[str, str]]]:
        """Each line, with the references of its input's pictures by their fields."""
        sources = {s["number"]: s for s in source_lines(self._store, self._batch.id, chunk)}
        wanted = [sources[number_of(line)] for line in results]
        looked = look(self._services, self._batch, wanted)
        for line, asked in zip(results, looked, strict=True):
            named = asked.references() if isinstance(asked, Checked) else {}
            pictures = asked.kind.image_fields() if isinstance(asked, Checked) else ()
            yield line, {name: text for name, text in named.items() if name in pictures}

    def _entry(self, asked: tuple[Line, dict[str, str]]) -> Entry:
        line, references = asked
        number, text = number_of(line), to_json(line)
        files = [("json", text), *self._made(line), *self._given(references)]
        return Entry(number, text, [(f"{number:08}.{name}", data) for name, data in files])

    def _made(self, line: Line) -> Iterator[tuple[str, bytes]]:
        for made in line["response"]["body"]["outputs"]["artifacts"]:
            bucket, key = picture_place(self._batch, line["custom_id"], made["name"])
            try:
                yield made["name"], b"".join(self._store.stream(key, bucket))
            except NotFound:
                continue

    def _given(self, references: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        for name, reference in references.items():
            try:
                data = given_picture(self._contents, reference)
                ending = images.extension(data)
            except (LedgerUnavailable, StorageUnavailable):
                raise
            except ImagemillError:
                continue
            yield f"input{'' if len(references) == 1 else f'-{name}'}.{ending}", data


@dataclass
class _Packer:
    """Packs entries until a shard is full, and counts them."""

    mtime: int
    items: int = 0
    last: int = 0
    size: int = 0
    full: bool = False
    lines: Any = field(default_factory=hashlib.sha256)

    def blocks(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Those of the tar file."""
        for entry in entries:
            if self.items and (self.items == ITEMS or self.size + entry.bytes > BYTES):
                self.full = True
                break
            for name, data in entry.members:
                yield from self._member(name, data)
            self.items, self.last = self.items + 1, entry.number
            self.size += entry.bytes
            self.lines.update(entry.line)
        yield END

    def _member(self, name: str, data: bytes) -> Iterator[bytes]:
        header = tarfile.TarInfo(name)
        header.size, header.mtime = len(data), self.mtime
        yield header.tobuf(tarfile.PAX_FORMAT)
        yield data
        yield bytes(-len(data) % tarfile.BLOCKSIZE)
