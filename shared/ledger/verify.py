"""Does the ledger agree with itself, with the broker and with S3?

Each check looks at one subject (a job, a file, a folder of objects) and tells what is wrong with
it. The service may be at work meanwhile: only what a second look, PAUSE_S later, finds in the
same words counts as an inconsistency.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import groupby, islice
from typing import Any

import redis

from shared.contracts import JobRecord
from shared.errors import NotFound
from shared.layout import BATCHES, FILES, JOBS, batch_folder, in_use, job_folder, manifest_key
from shared.ledger.inspect import index_errors
from shared.ledger.records import job_record
from shared.ledger.server import PUBLISH_GRACE_MS
from shared.ledger.verify_batches import batch_errors, batch_ids
from shared.object_store import ObjectStore, StoredObject
from shared.parallel import parallel_map

PAUSE_S = 2.0
LATE_MS = 60_000  # running reapers and collectors deal with everything long before
SCAN_PAGE = 1000

Look = Callable[[], Iterable[str]]


class Verifier:
    """Reads everything and changes nothing; memory grows only with what looks wrong.

    `client` and `broker` decode responses. `orphan_s`: from which age on objects that nothing
    refers to are collected. `digests`: read and hash every object's bytes, where otherwise the
    SHA-256 in its metadata is believed.
    """

    def __init__(
        self,
        client: redis.Redis,
        broker: redis.Redis,
        store: ObjectStore,
        orphan_s: float,
        digests: bool = False,
    ) -> None:
        self._client: Any = client
        self._broker: Any = broker
        self._store = store
        self._orphan_ms = int(orphan_s * 1000) + LATE_MS
        self._digests = digests
        self.jobs = self.files = self.batches = self.objects = 0

    def inconsistencies(self) -> Iterator[str]:
        """One line each. Raises RedisError, StorageUnavailable."""
        looks = parallel_map(lambda look: (look, list(look())), self._looks())
        suspects = [(look, lines) for look, lines in looks if lines]
        if suspects:
            time.sleep(PAUSE_S)
        for look, lines in suspects:
            again = set(look())
            yield from (line for line in lines if line in again)

    def _looks(self) -> Iterator[Look]:
        yield self._indexes
        yield self._broker_queues
        for key in self._client.scan_iter("job:*", SCAN_PAGE):
            self.jobs += 1
            yield partial(self._job, key.removeprefix("job:"))
        for key in self._client.scan_iter("file:*", SCAN_PAGE):
            if not key.endswith(":jobs"):
                self.files += 1
                yield partial(self._file, key.removeprefix("file:"))
        for batch_id in batch_ids(self._client):
            self.batches += 1
            yield partial(batch_errors, self._client, self._store, batch_id, LATE_MS)
        # jobs/{job id}/… and files/{tenant}/{file id}/…
        yield from self._folders(JOBS, 2, self._job_objects)
        yield from self._folders(FILES, 3, self._file_objects)
        entries = self._store.list(BATCHES)
        while page := list(islice(entries, SCAN_PAGE)):
            self.objects += len(page)
            yield partial(self._batch_objects, page)

    def _folders(
        self, prefix: str, depth: int, check: Callable[[str, list[StoredObject]], Iterator[str]]
    ) -> Iterator[Look]:
        def folder(entry: StoredObject) -> str:
            return "/".join(entry.key.split("/")[:depth])

        for name, entries in groupby(self._store.list(prefix), folder):
            objects = list(entries)
            self.objects += len(objects)
            yield partial(check, name.rpartition("/")[2], objects)

    # The ledger by itself, and the broker

    def _indexes(self) -> Iterator[str]:
        return index_errors(self._client)

    def _broker_queues(self) -> Iterator[str]:
        found = set(self._broker.scan_iter("*", SCAN_PAGE, "list"))
        for name in sorted(found - self._client.smembers("queues")):
            yield f"broker: messages in {name}, a queue that the ledger does not know"

    # What the ledger refers to

    def _job(self, job_id: str) -> Iterator[str]:
        with self._client.pipeline() as pipe:
            pipe.hgetall(f"job:{job_id}")
            pipe.zscore("due", job_id)
            pipe.zscore("unsaved", job_id)
            fields, due_at, unsaved_since = pipe.execute()
        if not fields:
            return
        job = _record(fields)
        if job is None:
            yield f"{job_id}: its record cannot be read"
            return
        if due_at is not None:
            yield from self._waits(job, fields, int(due_at))
        for artifact in job.artifacts:
            yield from self._object(job_id, artifact.key, artifact.bytes, artifact.sha256)
        if job.batch:
            return  # the jobs of a batch have no manifest
        if unsaved_since is None:
            yield from self._manifest(job)
        elif unsaved_since < self._now() - LATE_MS:
            yield f"{job_id}: its manifest is behind since {_time(unsaved_since)}"

    def _waits(self, job: JobRecord, fields: dict[str, str], due_at: int) -> Iterator[str]:
        """What an unfinished job waits for must not be long overdue."""
        horizon = self._now() - LATE_MS
        phase = fields["phase"]
        lease_until = int(fields.get("lease_until") or 0)
        if phase == "leased" and lease_until < horizon:
            yield f"{job.id}: its lease ended at {_time(lease_until)}: does no reaper run?"
        elif due_at < horizon:
            yield f"{job.id}: overdue since {_time(due_at)}: does no reaper run?"
        # Since then at the latest no reaper has looked whether the message is there.
        if phase == "published" and due_at - PUBLISH_GRACE_MS < horizon:
            queue = job.steps[job.current].step.queue(job.priority)
            if not self._broker.llen(queue):
                yield f"{job.id}: its message is not in the broker's queue {queue}"

    def _manifest(self, job: JobRecord) -> Iterator[str]:
        try:
            saved = JobRecord.model_validate_json(self._store.get(manifest_key(job.id)))
        except NotFound:
            yield f"{job.id}: its manifest is not in S3"
            return
        except ValueError:
            yield f"{job.id}: its manifest cannot be read"
            return
        # Claims and releases need no new manifest, so an unfinished job's status may differ.
        if saved.version != job.version or (job.status.terminal and saved.status != job.status):
            yield (
                f"{job.id}: {job.status} in version {job.version}, "
                f"but {saved.status} in version {saved.version} in its manifest"
            )

    def _file(self, file_id: str) -> Iterator[str]:
        key, size, sha256 = self._client.hmget(f"file:{file_id}", "key", "bytes", "sha256")
        if key is not None:
            yield from self._object(file_id, key, int(size), sha256)

    def _object(self, owner: str, key: str, size: int, sha256: str) -> Iterator[str]:
        try:
            head = self._store.head(key)
            if head.bytes != size:
                yield f"{owner}: {key} has {head.bytes} bytes instead of {size}"
            elif head.metadata.get("sha256") != sha256:
                yield f"{owner}: {key} has another SHA-256 in its metadata"
            elif self._digests and hashlib.sha256(self._store.get(key)).hexdigest() != sha256:
                yield f"{owner}: {key} has bytes of another SHA-256"
        except NotFound:
            yield f"{owner}: {key} is not in S3"

    # What the ledger does not refer to

    def _job_objects(self, job_id: str, objects: list[StoredObject]) -> Iterator[str]:
        fields = self._client.hgetall(f"job:{job_id}")
        if not fields:
            if not self._erased_soon(job_folder(job_id)):
                yield from self._orphans(objects, set())
        elif job := _record(fields):
            keys = {artifact.key for artifact in job.artifacts} | {manifest_key(job_id)}
            keys |= {entry.key for entry in objects if in_use(job, entry.key)}
            yield from self._orphans(objects, keys)

    def _file_objects(self, file_id: str, objects: list[StoredObject]) -> Iterator[str]:
        yield from self._orphans(objects, {self._client.hget(f"file:{file_id}", "key")})

    def _batch_objects(self, objects: list[StoredObject]) -> Iterator[str]:
        for batch_id, entries in groupby(objects, lambda entry: entry.key.split("/")[1]):
            known = self._client.exists(f"batch:{batch_id}")
            if not known and not self._erased_soon(batch_folder(batch_id)):
                yield from self._orphans(list(entries), set())

    def _orphans(self, objects: list[StoredObject], known: set[str]) -> Iterator[str]:
        horizon = self._store.now() - self._orphan_ms
        for entry in objects:
            if entry.key in known or entry.modified_at > horizon or self._erased_soon(entry.key):
                continue
            if self._store.exists(entry.key):  # what was listed may be gone at the second look
                yield f"{entry.key}: nothing in the ledger refers to it"

    def _erased_soon(self, key: str) -> bool:
        return self._client.zscore("garbage", key) is not None

    def _now(self) -> int:
        """Milliseconds since the epoch, on the ledger's clock."""
        seconds, micros = self._client.time()
        return int(seconds * 1000 + micros // 1000)


def _record(fields: dict[str, str]) -> JobRecord | None:
    """None where the hash is damaged."""
    try:
        return job_record(fields)
    except (KeyError, TypeError, ValueError):
        return None


def _time(ms: float) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
