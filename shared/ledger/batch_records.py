"""How a batch's hash becomes a BatchRecord, and one from S3 what the ledger keeps of it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from shared.batches import BatchCounts, BatchRecord, BatchStatus, OpenChunk
from shared.contracts import CHUNK

STOPPED = BatchStatus.CANCELLING, BatchStatus.FINALIZING  # no chunk is opened any more
MAX_OUTCOMES = 20  # that are remembered of a kind of work
TEXTS = "id", "tenant", "status", "base_url"
MOMENTS = tuple(name for name in BatchRecord.model_fields if name.endswith("_at"))


@dataclass(frozen=True)
class BatchPage:
    """One page of a listing, newest first; `next` is the id to go on after."""

    batches: list[BatchRecord]
    next: str | None


@dataclass(frozen=True)
class Pace:
    """How many items were done in how many milliseconds, the latest counting most."""

    items: float
    ms: float


def batch_record(fields: Mapping[str, str], opened: Mapping[str, str], redo: int) -> BatchRecord:
    """From the hash of a batch, that of its open chunks, and how many are to be done again."""

    def named(prefix: str) -> dict[str, Any]:
        found = ((n.removeprefix(prefix), v) for n, v in fields.items() if n.startswith(prefix))
        return {name: json.loads(value) for name, value in sorted(found)}

    def number(name: str) -> int:
        return int(fields.get(name) or 0)

    return BatchRecord.model_validate(
        {
            **{name: fields[name] for name in TEXTS},
            **{name: int(fields[name]) or None for name in MOMENTS if name in fields},
            "request": json.loads(fields["request"]),
            "metadata": json.loads(fields["metadata"]),
            "files": json.loads(fields["files"]),
            "idempotency": (fields["idempotency"], fields["body_hash"])
            if fields["idempotency"]
            else None,
            "counts": BatchCounts(
                total=number("total") if "total" in fields else None,
                completed=number("completed"),
                failed=number("failed"),
            ),
            "error_codes": named("code:"),
            "problems": json.loads(fields.get("problems", "[]")),
            "chunks": number("chunks") if "chunks" in fields else None,
            "bytes": number("bytes") if "bytes" in fields else None,
            "next_chunk": number("next_chunk"),
            "redo": redo,
            "retries": number("retries"),
            "open": {int(chunk): open_chunk(entry) for chunk, entry in opened.items()},
            "start_paused": fields["start_paused"] == "1",
            "paused_by": fields.get("paused_by"),
            "ends_as": fields["ends_as"],
            "output_file_id": fields.get("output_file_id") or None,
            "error_file_id": fields.get("error_file_id") or None,
            "window_ms": number("window_ms") or None,
            "retention_ms": number("retention_ms"),
            "notes": named("note:"),
        }
    )


def open_chunk(entry: str) -> OpenChunk:
    """From its entry among the open ones: the opening, and once all are submitted its jobs."""
    opening, _, jobs = entry.partition(" ")
    return OpenChunk(opening=int(opening), jobs=json.loads(jobs) if jobs else None)


@dataclass(frozen=True)
class Restored:
    """A batch from S3. `failed`: chunk with failures → its numbers as CLOSE is told them; `redo`:
    the chunks to be done again."""

    batch: BatchRecord
    failed: dict[int, dict[str, Any]]
    redo: set[int]


def restored(batch: BatchRecord, closed: Mapping[int, Mapping[str, int]]) -> Restored:
    """The batch with nothing open. `closed`: per chunk whose results lie in S3, its failed items
    by error code.

    A chunk before the last of these that is not among them was open, and is done again; so are
    all with failures while a retry is under way.
    """
    following = max(closed, default=-1) + 1
    failed: dict[int, dict[str, Any]] = {
        chunk: {"completed": _size(batch, chunk) - count, "failed": count, "codes": dict(errors)}
        for chunk, errors in closed.items()
        if (count := sum(errors.values()))
    }
    redo = set(range(following)) - closed.keys()
    if batch.retries and not batch.status.terminal and batch.status not in STOPPED:
        redo |= failed.keys()
    codes: Counter[str] = Counter()
    for told in failed.values():
        codes.update(told["codes"])
    bad = codes.total()
    counts = {"completed": sum(_size(batch, chunk) for chunk in closed) - bad, "failed": bad}
    known = {
        "counts": batch.counts.model_copy(update=counts),
        "error_codes": dict(codes),
        "next_chunk": following,
        "redo": len(redo),
        "open": {},
    }
    return Restored(batch.model_copy(update=known), failed, redo)


def _size(batch: BatchRecord, chunk: int) -> int:
    return min(CHUNK, (batch.counts.total or 0) - chunk * CHUNK)


def batch_fields(batch: BatchRecord) -> Iterator[Any]:
    """Names and values of a batch's hash, for BATCH_RESTORE; what it knows itself is left out."""
    key, body_hash = batch.idempotency or ("", "")
    fields = {
        **{name: getattr(batch, name) for name in MOMENTS},
        "tenant": batch.tenant,
        "request": json.dumps(batch.request),
        "metadata": json.dumps(batch.metadata),
        "files": json.dumps(batch.files),
        "base_url": batch.base_url,
        "idempotency": key,
        "body_hash": body_hash,
        "problems": json.dumps([problem.model_dump() for problem in batch.problems]),
        "chunks": batch.chunks,
        "total": batch.counts.total,
        "bytes": batch.bytes,
        "next_chunk": batch.next_chunk,
        "completed": batch.counts.completed,
        "failed": batch.counts.failed,
        **{f"code:{code}": times for code, times in batch.error_codes.items()},
        "retries": batch.retries or None,
        "start_paused": int(batch.start_paused),
        "paused_by": batch.paused_by,
        "ends_as": batch.ends_as,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "window_ms": batch.window_ms or 0,
        "deadline_at": batch.deadline_at or 0,
        "retention_ms": batch.retention_ms,
        **{f"note:{name}": json.dumps(value) for name, value in batch.notes.items()},
    }
    return chain.from_iterable((n, v) for n, v in fields.items() if v is not None)
