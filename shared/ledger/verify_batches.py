"""Does S3 hold of a batch what the ledger says of it?"""

from collections.abc import Iterator
from typing import Any

from shared.batches import BatchRecord, BatchStatus
from shared.closings import closings
from shared.errors import NotFound
from shared.layout import batch_manifest_key, chunk_key, chunks_folder
from shared.ledger.batch_records import MOMENTS, batch_record
from shared.object_store import ObjectStore

FUTURE = "deadline_at", "expires_at"


def batch_ids(client: Any) -> Iterator[str]:
    """Every batch of the ledger, by scanning it. Raises RedisError."""
    for key in client.scan_iter("batch:*", 1000):
        if key.count(":") == 1:
            yield key.removeprefix("batch:")


def batch_errors(client: Any, store: ObjectStore, batch_id: str, late_ms: int) -> Iterator[str]:
    """A line for everything that is wrong with one batch. Its manifest may be behind for
    `late_ms`. Raises RedisError, StorageUnavailable."""
    with client.pipeline() as pipe:
        pipe.hgetall(f"batch:{batch_id}")
        pipe.hgetall(f"batch:{batch_id}:open")
        pipe.zrange(f"batch:{batch_id}:redo", 0, -1)
        fields, opened, redo = pipe.execute()
    if not fields:
        return
    try:
        batch = batch_record(fields, opened, len(redo))
    except (KeyError, ValueError):
        yield f"{batch_id}: its record cannot be read"
        return
    indexed = {entry.key for entry in store.list(chunks_folder(batch_id))}
    for key in (chunk_key(batch_id, chunk) for chunk in range(batch.chunks or 0)):
        if key not in indexed:
            yield f"{batch_id}: {key} is not in S3"
    closed = set(range(batch.next_chunk)) - batch.open.keys() - {int(chunk) for chunk in redo}
    for chunk in sorted(closed - closings(store, batch_id).keys()):
        yield f"{batch_id}: the results of chunk {chunk} are not in S3"
    for chunk, opening in batch.open.items():
        for job_id in opening.jobs or ():
            if not client.exists(f"job:{job_id}"):
                yield f"{batch_id}: {job_id} of its open chunk {chunk} is gone"
    seconds, micros = client.time()
    if _changed_at(batch) < seconds * 1000 + micros // 1000 - late_ms:
        yield from _manifest_errors(store, batch)


def _changed_at(batch: BatchRecord) -> int:
    moments = (getattr(batch, name) for name in MOMENTS if name not in FUTURE)
    return max(moment for moment in moments if moment)


def _manifest_errors(store: ObjectStore, batch: BatchRecord) -> Iterator[str]:
    key = batch_manifest_key(batch.id)
    try:
        saved = BatchRecord.model_validate_json(store.get(key))
    except NotFound:
        yield f"{batch.id}: its manifest is not in S3"
        return
    except ValueError:
        yield f"{batch.id}: its manifest cannot be read"
        return
    # A resumption leaves no moment of its own.
    running = {BatchStatus.IN_PROGRESS, BatchStatus.PAUSED}
    if saved.status != batch.status and not {saved.status, batch.status} <= running:
        yield f"{batch.id}: {batch.status}, but {saved.status} in its manifest"
