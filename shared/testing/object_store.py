"""The in-memory twin of `shared.object_store.S3ObjectStore`."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote

from shared.errors import NotFound, StorageUnavailable, TooLarge
from shared.object_store import ObjectHead, StoredObject, verify


class MemoryObjectStore:
    """Keeps objects in a dict. `clock` gives milliseconds.

    While `down` is set, every call raises StorageUnavailable.
    """

    def __init__(
        self,
        bucket: str = "imagemill",
        endpoint: str = "http://s3.test",
        clock: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        self.down = False
        self.now = clock
        self.objects: dict[tuple[str, str], bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self._media_types: dict[str, str] = {}
        self._modified_at: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(
        self, key: str, data: bytes, media_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._answer()
        with self._lock:
            self.objects[self.bucket, key] = bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            self.metadata[key] = {"sha256": digest, **(metadata or {})}
            self._media_types[key] = media_type
            self._modified_at[key] = self.now()

    def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        return verify(key, self._find(self.bucket, key), sha256, size)

    def read(self, bucket: str, key: str, max_bytes: int) -> bytes:
        data = self._find(bucket, key)
        if len(data) > max_bytes:
            raise TooLarge(f"{key}: more than {max_bytes} bytes")
        return data

    def exists(self, key: str) -> bool:
        self._answer()
        return (self.bucket, key) in self.objects

    def head(self, key: str) -> ObjectHead:
        data = self._find(self.bucket, key)
        modified_at, media_type = self._modified_at[key], self._media_types[key]
        return ObjectHead(key, len(data), modified_at, media_type, self.metadata[key])

    def delete(self, keys: Iterable[str]) -> None:
        self._answer()
        with self._lock:
            for key in keys:
                self.objects.pop((self.bucket, key), None)

    def list(self, prefix: str, after: str = "", bucket: str = "") -> Iterator[StoredObject]:
        self._answer()
        with self._lock:
            if bucket and bucket not in {place for place, _ in self.objects}:
                raise NotFound(f"no such bucket: {bucket}")
            found = sorted(
                (key, len(data))
                for (place, key), data in self.objects.items()
                if place == (bucket or self.bucket) and key.startswith(prefix) and key > after
            )
        for key, size in found:
            yield StoredObject(key, size, self._modified_at.get(key, 0))

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str:
        return f"{self.endpoint}/{self.bucket}/{quote(key)}?expires={expires_s}"

    def check(self) -> None:
        self._answer()

    def _find(self, bucket: str, key: str) -> bytes:
        self._answer()
        try:
            return self.objects[bucket, key]
        except KeyError:
            raise NotFound(f"no such object: {key}") from None

    def _answer(self) -> None:
        if self.down:
            raise StorageUnavailable("S3 does not answer")
