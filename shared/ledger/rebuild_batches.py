"""The batches that lie in S3, for a ledger that lost them."""

import json
from collections import Counter
from collections.abc import Iterator

from shared.batches import BatchRecord
from shared.closings import closings
from shared.errors import NotFound
from shared.layout import (
    BATCHES,
    batch_folder,
    batch_manifest_key,
    errors_folder,
    errors_key,
)
from shared.ledger import Ledger
from shared.object_store import ObjectStore
from shared.parallel import parallel_map


class StoredBatches:
    """`unreadable`: where the keys of what cannot be read are noted."""

    def __init__(self, ledger: Ledger, store: ObjectStore, unreadable: list[str]) -> None:
        self._ledger = ledger
        self._store = store
        self._unreadable = unreadable

    def restore(self, dry_run: bool) -> int:
        """Put back those that the ledger does not know, in the order of their creation; how many
        there were. Raises LedgerUnavailable, StorageUnavailable."""
        unknown = (batch_id for batch_id in self._ids() if not self._known(batch_id))
        found = [batch for batch in map(self._read, unknown) if batch]
        found.sort(key=lambda batch: batch.created_at)
        if dry_run:
            return len(found)
        return sum(self._ledger.restore_batch(b, self._closed(b.id)) for b in found)

    def _ids(self) -> Iterator[str]:
        """Those that have objects; one look at each, however many it has."""
        entry = next(self._store.list(BATCHES), None)
        while entry:
            batch_id = entry.key.split("/")[1]
            yield batch_id
            behind = batch_folder(batch_id).removesuffix("/") + "0"  # which is next to the slash
            entry = next(self._store.list(BATCHES, behind), None)

    def _known(self, batch_id: str) -> bool:
        try:
            self._ledger.batch(batch_id)
        except NotFound:
            return False
        return True

    def _read(self, batch_id: str) -> BatchRecord | None:
        """None where there is no manifest, or one that cannot be read."""
        key = batch_manifest_key(batch_id)
        try:
            batch = BatchRecord.model_validate_json(self._store.get(key))
            if batch.id != batch_id:
                raise ValueError(f"the manifest of {batch.id}")
        except NotFound:
            return None
        except ValueError:
            self._unreadable.append(key)
            return None
        return batch

    def _closed(self, batch_id: str) -> dict[int, dict[str, int]]:
        """The chunks that are done, each with its failed items by error code.

        One whose errors cannot be read is left out: it is done again.
        """
        closed = closings(self._store, batch_id)
        there = {entry.key for entry in self._store.list(errors_folder(batch_id))}
        shards = {chunk: errors_key(batch_id, chunk, closed[chunk]) for chunk in closed}
        failed = [chunk for chunk, shard in shards.items() if shard in there]
        errors = dict(
            zip(failed, parallel_map(self._codes, map(shards.__getitem__, failed)), strict=True)
        )
        known = {chunk: errors.get(chunk, {}) for chunk in closed}
        return {chunk: codes for chunk, codes in known.items() if codes is not None}

    def _codes(self, shard: str) -> dict[str, int] | None:
        try:
            lines = self._store.get(shard).splitlines()
            return dict(Counter(json.loads(line)["error"]["code"] for line in lines))
        except NotFound:
            return {}
        except (ValueError, KeyError, TypeError):
            self._unreadable.append(shard)
            return None
