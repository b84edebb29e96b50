"""Results of earlier batches in place of the same work, for batches that ask for it (`reuse`).

Such a batch keeps the fingerprints of its items: those of a chunk beside the lines that it took
over, from the chunk's opening on, and at its end those of all its results in one object. An item
that leaves its seed open has it from its custom_id, so that it is the same in every such batch.
"""

import json
import sqlite3
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import quote

from api.batches.disk import told_when_full
from api.batches.fingerprints import SIZE, fingerprints
from api.batches.planning import Planned
from api.batches.shards import Line, Shards, by_number, outcome, read
from api.services import TENANT, Services
from shared.batches import BatchRecord
from shared.closings import closings
from shared.contracts import CHUNK, Item
from shared.errors import NotFound
from shared.item_jobs import item_job_id
from shared.layout import fingerprints_key, picture_place, results_key, reuse_key
from shared.object_store import ObjectStore
from shared.parallel import parallel_map

BATCHES = 50  # earlier ones that are looked into
LISTED = 1000  # batches among which these are
READ_AHEAD = 4  # chunks
RECORD = struct.Struct(f">{SIZE}sL")  # fingerprint, number of the item

Revisions = Mapping[tuple[str, str], set[str]]


@dataclass(frozen=True)
class Kept:
    """What a chunk keeps, by the items' numbers: fingerprints, and lines taken over."""

    prints: dict[int, bytes] = field(default_factory=dict)
    lines: dict[int, Line] = field(default_factory=dict)

    @classmethod
    def read(cls, store: ObjectStore, batch_id: str, chunk: int) -> "Kept":
        """Empty where there is none. Raises StorageUnavailable."""
        try:
            kept = json.loads(store.get(reuse_key(batch_id, chunk)))
        except NotFound:
            return cls()
        prints = {int(number): bytes.fromhex(text) for number, text in kept["prints"].items()}
        return cls(prints, by_number(kept["lines"]))

    def write(self, store: ObjectStore, batch_id: str, chunk: int) -> None:
        """Raises StorageUnavailable."""
        prints = {number: value.hex() for number, value in self.prints.items()}
        text = json.dumps({"prints": prints, "lines": list(self.lines.values())})
        store.put(reuse_key(batch_id, chunk), text.encode(), "application/json")


def write_index(services: Services, batch: BatchRecord) -> None:
    """Keep the fingerprints of all results, for later batches. Raises StorageUnavailable."""

    def records(closed: tuple[int, int]) -> bytes:
        prints = Kept.read(services.store, batch.id, closed[0]).prints
        done = by_number(read(services.store, results_key(batch.id, *closed)))
        return b"".join(RECORD.pack(prints[number], number) for number in done if number in prints)

    closed = closings(services.store, batch.id)
    blocks = parallel_map(records, closed.items(), READ_AHEAD)
    services.store.put_stream(fingerprints_key(batch.id), blocks, "application/octet-stream")


class Known:
    """What a batch may take over, in a table on disk that goes with it; threads may share it."""

    def __init__(self, services: Services, batch: BatchRecord) -> None:
        self._services = services
        self._batch = batch
        self._batches = list(islice(self._earlier(), BATCHES))
        self._lock = threading.Lock()
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        with told_when_full():
            self._fill()

    def _fill(self) -> None:
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("CREATE TABLE known (print BLOB, batch INTEGER, number INTEGER)")
        self._table.execute("BEGIN")
        for place, earlier in enumerate(self._batches):
            rows = ((print_, place, number) for print_, number in self._index(earlier))
            self._table.executemany("INSERT INTO known VALUES (?, ?, ?)", rows)
        # Afterwards, since it is sorted as a whole then: many times quicker than row by row.
        self._table.execute("CREATE INDEX prints ON known (print, batch)")

    def take(self, chunk: int, planned: Sequence[Planned]) -> set[int]:
        """Keep what is known of these items; the numbers of those that need not be run.

        Raises StorageUnavailable, LedgerUnavailable.
        """
        store, batch = self._services.store, self._batch
        prints = fingerprints(self._services, planned)
        kept, lines = Kept.read(store, batch.id, chunk), dict(self._lines(planned, prints))
        earlier = {n: line for n, line in kept.lines.items() if n not in prints}
        Kept(kept.prints | prints, earlier | lines).write(store, batch.id, chunk)
        return lines.keys() & prints.keys()

    def _earlier(self) -> Iterator[BatchRecord]:
        """Ended batches that keep fingerprints of the same kind of job, newest first."""
        after, kind = None, self._batch.request["job"]["kind"]
        for _ in range(0, LISTED, 100):
            page = self._services.ledger.batches(TENANT, limit=100, after=after)
            for batch in page.batches:
                same = batch.request.get("reuse") and batch.request["job"]["kind"] == kind
                if same and batch.status.terminal and batch.id != self._batch.id:
                    yield batch
            after = page.next
            if after is None:
                return

    def _index(self, batch: BatchRecord) -> Iterator[tuple[bytes, int]]:
        rest = b""
        try:
            for block in self._services.store.stream(fingerprints_key(batch.id)):
                data = rest + block
                whole = len(data) // RECORD.size * RECORD.size
                yield from RECORD.iter_unpack(data[:whole])
                rest = data[whole:]
        except NotFound:  # of a batch that failed, or is being erased
            return

    def _find(self, print_: bytes) -> tuple[BatchRecord, int] | None:
        """The newest item of this fingerprint."""
        query = "SELECT batch, number FROM known WHERE print = ? ORDER BY batch LIMIT 1"
        with self._lock:
            found = self._table.execute(query, (print_,)).fetchone()
        return (self._batches[found[0]], found[1]) if found else None

    def _lines(
        self, planned: Sequence[Planned], prints: Mapping[int, bytes]
    ) -> Iterator[tuple[int, Line]]:
        """The lines that can be taken over, by the numbers of this batch's items."""
        revisions: dict[tuple[str, str], set[str]] = {}
        for worker in self._services.ledger.workers():
            for model, revision in worker.models.items():
                revisions.setdefault((worker.family, model), set()).add(revision)
        shards: dict[tuple[str, int], dict[int, Line]] = {}
        for each in planned:
            number = each.item.number
            found = self._find(prints[number]) if number in prints else None
            if found is None:
                continue
            batch, theirs = found
            place = batch.id, theirs // CHUNK
            if place not in shards:
                shards[place] = Shards.read(self._services.store, *place).results
            line = shards[place].get(theirs)
            if line and _current(line, revisions) and self._copied(batch, line, each.item):
                yield number, self._taken_over(line, each.item)

    def _copied(self, batch: BatchRecord, line: Line, item: Item) -> bool:
        """Whether the pictures are still what they were, and lie where this batch's belong."""
        store = self._services.store
        for made in line["response"]["body"]["outputs"]["artifacts"]:
            bucket, key = picture_place(batch, line["custom_id"], made["name"])
            target_bucket, target = picture_place(self._batch, item.custom_id, made["name"])
            try:
                if store.head(key, bucket).metadata.get("sha256") != made["sha256"]:
                    return False
                if (bucket, key) != (target_bucket, target):
                    store.copy(key, target, target_bucket, bucket)
            except NotFound:
                return False
        return True

    def _taken_over(self, line: Line, item: Item) -> Line:
        job_id, body = item_job_id(self._batch.id, item.number), line["response"]["body"]
        url = f"{self._batch.base_url}v1/jobs/{job_id}"

        def listed(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{**file, "url": f"{url}/artifacts/{quote(file['name'])}"} for file in files]

        outputs = body["outputs"]
        files = {name: listed(outputs[name]) for name in ("images", "artifacts")}
        job = {
            **body,
            "id": job_id,
            "metadata": item.metadata,
            "outputs": {**outputs, **files},
            "urls": {"self": url, "cancel": f"{url}/cancel", "preview": None},
            "reused_from": body.get("reused_from") or body["id"],
        }
        return outcome(self._batch.id, item.number, item.custom_id, job, None)


def _current(line: Line, revisions: Revisions) -> bool:
    """Whether every live worker would do it by the same revisions; not so where there is none."""
    steps = line["response"]["body"]["steps"]
    return all(revisions.get((s["family"], s["model"])) == {s["revision"]} for s in steps)
