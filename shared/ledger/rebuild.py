"""What the ledger knew, from what lies in S3: for when its disk was lost.

Uploads come back from the metadata of their objects, jobs and batches from their manifests, and
what lies beside a batch's manifest says which of its chunks were done. What is in the ledger
already is left alone: a rebuild may be repeated, and run while the service is up.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from shared.contracts import FileRecord, JobRecord
from shared.errors import NotFound
from shared.file_metadata import file_record
from shared.layout import FILES, JOBS, manifest_key
from shared.ledger import Ledger
from shared.ledger.rebuild_batches import StoredBatches
from shared.object_store import ObjectStore, StoredObject
from shared.parallel import parallel_map

# A worker of the lost life may still hold a fence and commit under it. Manifests are written
# after commits, not claims, so the highest fence is not known, only about where it was.
FENCE_GAP = 1_000_000

_FENCE = re.compile(r"jobs/[^/]+/[^/]+/a(\d+)")

Found = tuple[int, str, int]  # created_at, job id, highest fence among the job's objects


class Rebuilder:
    """One rebuild; afterwards `finished` and `queued` jobs, `files` and `batches` say how many were
    restored, and `unreadable` holds the keys of what could not be.

    `retention_ms`: how long uploads are kept from now on. With `dry_run` nothing is changed.
    """

    def __init__(
        self, ledger: Ledger, store: ObjectStore, retention_ms: int, dry_run: bool = False
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._retention_ms = retention_ms
        self._dry_run = dry_run
        self.finished = self.queued = self.files = self.batches = 0
        self.unreadable: list[str] = []

    def run(self) -> None:
        """Restore files, then jobs in the order of submission, then batches.

        Raises LedgerUnavailable, StorageUnavailable.
        """
        for file in parallel_map(self._read_file, self._store.list(FILES)):
            if file and self._restore_file(file):
                self.files += 1
        # Jobs that need them come after the files, so that these are not erased in between.
        found = sorted(job for job in parallel_map(self._find_job, self._folders()) if job)
        for job, (_, _, fence) in zip(parallel_map(self._reread_job, found), found, strict=True):
            if job and self._restore_job(job, fence):
                if job.status.terminal:
                    self.finished += 1
                else:
                    self.queued += 1
        batches = StoredBatches(self._ledger, self._store, self.unreadable)
        self.batches = batches.restore(self._dry_run)
        if not self.unreadable and not self._dry_run:
            self._ledger.knows_everything()

    def _read_file(self, entry: StoredObject) -> FileRecord | None:
        # Uploading the same bytes again extends a file's life and leaves no trace in S3; counted
        # from now, no file goes before its time.
        expires_at = self._store.now() + self._retention_ms
        try:
            return file_record(self._store.head(entry.key), expires_at)
        except NotFound:
            return None
        except ValueError:
            self.unreadable.append(entry.key)
            return None

    def _restore_file(self, file: FileRecord) -> bool:
        if not self._dry_run:
            return self._ledger.restore_file(file)
        try:
            self._ledger.file_key(file.id)
        except NotFound:
            return True
        return False

    def _folders(self) -> Iterator[tuple[str, list[str]]]:
        """Every job that has objects, with their keys."""
        keys = (entry.key for entry in self._store.list(JOBS))
        for job_id, group in groupby(keys, lambda key: key.split("/")[1]):
            yield job_id, list(group)

    def _find_job(self, folder: tuple[str, list[str]]) -> Found | None:
        job_id, keys = folder
        if manifest_key(job_id) not in keys or self._knows(job_id):
            return None
        job = self._read_job(job_id)
        return (job.created_at, job_id, _highest_fence(keys)) if job else None

    def _reread_job(self, found: Found) -> JobRecord | None:
        return self._read_job(found[1])

    def _read_job(self, job_id: str) -> JobRecord | None:
        """None where there is no manifest, or one that cannot be read."""
        key = manifest_key(job_id)
        try:
            job = JobRecord.model_validate_json(self._store.get(key))
            if job.id != job_id:
                raise ValueError(f"the manifest of {job.id}")
        except NotFound:
            return None
        except ValueError:
            self.unreadable.append(key)
            return None
        return job

    def _restore_job(self, job: JobRecord, highest_fence: int) -> bool:
        if self._dry_run:
            return not self._knows(job.id)
        ended = job.status.terminal
        fence = job.fence if ended else max(job.fence, highest_fence) + FENCE_GAP
        return self._ledger.restore(job, fence)

    def _knows(self, job_id: str) -> bool:
        try:
            self._ledger.get(job_id)
        except NotFound:
            return False
        return True


def _highest_fence(keys: Iterable[str]) -> int:
    return max((int(m[1]) for key in keys if (m := _FENCE.match(key))), default=0)
