"""The collector: keeps the object store in step with the ledger.

It saves manifests, erases garbage and what was kept long enough, and finds orphans: objects that
belong to nothing, such as the pictures of an attempt that was lost before its commit.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from shared import logs
from shared.contracts import JobRecord
from shared.errors import ImagemillError, NotFound
from shared.layout import BATCHES, FILES, JOBS, in_use, manifest_key, record_key
from shared.ledger import Ledger
from shared.manifest import save
from shared.object_store import ObjectStore, StoredObject
from shared.parallel import parallel_map
from shared.settings import Settings
from shared.sweeper import Sweeper

SAVE_AFTER_S = 1.0  # whoever changed a job saves it first
S3_RETRY_S = 1.0  # a sweep had rather end: what waits for S3 is tried again in another turn
ORPHAN_TURN_S = 10.0
THREADS = 8

# What one sweep does at most.
SAVED = 200  # manifests
EXPIRED = 500  # jobs, files and batches
GARBAGE = 50  # keys and prefixes
ERASED = 100  # objects under one such prefix
PAGE = 1000  # objects of a folder that are looked at

T = TypeVar("T")

log = logs.get(__name__)


class Collector(Sweeper):
    """Runs on a thread of its own, so that trouble with S3 delays nothing else."""

    name = "collector"

    def __init__(self, ledger: Ledger, store: ObjectStore, settings: Settings) -> None:
        super().__init__(ledger)
        self._store = store
        self._orphan_ms = int(settings.orphan_s * 1000)
        self._orphan_turn_s = max(0.1, min(ORPHAN_TURN_S, settings.orphan_s / 4))

    def sweep(self) -> bool:
        """Raises LedgerUnavailable, StorageUnavailable."""
        expired = self._ledger.expire(EXPIRED)
        unsaved = self._ledger.unsaved(SAVE_AFTER_S, SAVED)
        _at_once(self._save, unsaved)
        garbage = self._ledger.garbage(GARBAGE)
        left = _at_once(self._erase, garbage)
        if self._ledger.take_turn("orphans", self._orphan_turn_s):
            self._collect(FILES, self._file_is_gone)
            job = lru_cache(maxsize=1)(self._find_job)  # a job's objects stand together
            self._collect(JOBS, lambda entry: self._needed_by_no_job(entry, job))
            known = lru_cache(maxsize=1)(self._knows_batch)
            self._collect(BATCHES, lambda entry: self._needed_by_no_batch(entry, known))
        return expired == EXPIRED or len(unsaved) == SAVED or len(garbage) == GARBAGE or any(left)

    def _save(self, job_id: str) -> bool:
        save(self._ledger, self._store, job_id)
        return False

    def _erase(self, key: str) -> bool:
        """True: there was more under this prefix than is erased at once."""
        keys = [key]
        if key.endswith("/"):
            keys = [entry.key for entry in islice(self._store.list(key), ERASED)]
            record = record_key(key)
            # It goes first: from it, a rebuild of a lost ledger would bring the job back.
            if record in keys or len(keys) == ERASED:
                keys = [record, *(each for each in keys if each != record)]
        self._store.delete(keys)
        if len(keys) >= ERASED:
            return True
        self._ledger.erased(key)
        return False

    # Orphans

    def _collect(self, folder: str, is_orphan: Callable[[StoredObject], bool]) -> None:
        """Look through one page of the folder, where the last turn left off."""
        cursor = f"orphans in {folder}"
        page = list(islice(self._store.list(folder, self._ledger.cursor(cursor)), PAGE))
        horizon = self._store.now() - self._orphan_ms
        old = [entry for entry in page if entry.modified_at < horizon]
        orphans = [entry.key for entry in old if _tried(is_orphan, entry)]
        _at_once(self._delete, orphans)
        self._ledger.set_cursor(cursor, page[-1].key if len(page) == PAGE else "")
        if orphans:
            log.info("orphans collected", folder=folder, orphans=len(orphans))

    def _delete(self, key: str) -> bool:
        self._store.delete([key])
        return False

    def _file_is_gone(self, entry: StoredObject) -> bool:
        try:
            # Also of a deleted file, while an unfinished job needs it.
            key, _, _ = self._ledger.file_key(entry.key.split("/")[-2])
        except NotFound:
            return self._would_be_known(entry)
        return key != entry.key

    def _needed_by_no_job(
        self, entry: StoredObject, find: Callable[[str], JobRecord | None]
    ) -> bool:
        job = find(_owner(entry.key))
        if job is None:
            return self._would_be_known(entry)
        if entry.key == manifest_key(job.id) or entry.key in {a.key for a in job.artifacts}:
            return False
        return not in_use(job, entry.key)

    def _needed_by_no_batch(self, entry: StoredObject, known: Callable[[str], bool]) -> bool:
        return not known(_owner(entry.key)) and self._would_be_known(entry)

    def _find_job(self, job_id: str) -> JobRecord | None:
        try:
            return self._ledger.get(job_id)
        except NotFound:
            return None

    def _knows_batch(self, batch_id: str) -> bool:
        try:
            self._ledger.batch(batch_id)
        except NotFound:
            return False
        return True

    def _would_be_known(self, entry: StoredObject) -> bool:
        """Whether the ledger would know of the object, had it ever been told of it.

        A ledger that was lost and not rebuilt knows nothing of what is older than itself. The
        margin is for clocks that differ, and for what was under way when it was lost.
        """
        return entry.modified_at - self._orphan_ms >= self._ledger.knows_since()


def _owner(key: str) -> str:
    """The job or batch whose folder it lies in."""
    return key.split("/")[1]


def _at_once(do: Callable[[T], bool], items: Iterable[T]) -> list[bool]:
    """The answers; the first item for which a server is away ends it."""
    return list(parallel_map(lambda item: _tried(do, item), items, THREADS))


def _tried(do: Callable[[T], bool], item: T) -> bool:
    """The answer; False for a bad item, which must not keep the others from their turn."""
    try:
        return do(item)
    except ImagemillError:
        raise
    except Exception:
        log.exception("left alone", item=str(item))
        return False
