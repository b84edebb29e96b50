"""Under which opening each chunk of a batch was closed last: the lines of that closing count.

Whoever closes a chunk writes its lines under the opening that it knows. So a keeper that was
stopped for long and goes on after a retry writes beside the newer lines, not over them.
"""

from shared.layout import results_folder, shard_place
from shared.object_store import ObjectStore


def closings(store: ObjectStore, batch_id: str) -> dict[int, int]:
    """Chunk → opening, of all chunks that were closed, in their order. Raises
    StorageUnavailable."""
    return _latest(store, results_folder(batch_id))


def closing(store: ObjectStore, batch_id: str, chunk: int) -> int | None:
    """The opening; None where the chunk was never closed. Raises StorageUnavailable."""
    return _latest(store, f"{results_folder(batch_id)}{chunk:08}-").get(chunk)


def _latest(store: ObjectStore, prefix: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for chunk, opening in sorted(shard_place(entry.key) for entry in store.list(prefix)):
        found[chunk] = opening
    return found
