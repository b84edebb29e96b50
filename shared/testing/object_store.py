"""The in-memory twin of `shared.object_store.S3ObjectStore`."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from shared.errors import NotFound, StorageUnavailable, TooLarge
from shared.object_store import StoredObject, verify
from shared.s3_retry import DigestMismatch


class MemoryObjectStore:
    """Keeps objects in a dict. While `down` is set, every call raises StorageUnavailable."""

    def __init__(self, bucket: str = "imagemill", endpoint: str = "http://s3.test") -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        self.down = False
        self.objects: dict[tuple[str, str], bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self._modified_at: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(
        self, key: str, data: bytes, media_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._answer()
        with self._lock:
            self.objects[self.bucket, key] = bytes(data)
            self.metadata[key] = {"content-type": media_type, **(metadata or {})}
            self._modified_at[key] = int(time.time() * 1000)

    def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        data = self._find(self.bucket, key)
        try:
            return verify(key, data, sha256, size)
        except DigestMismatch as error:
            raise StorageUnavailable(str(error)) from error

    def read(self, bucket: str, key: str, max_bytes: int) -> bytes:
        data = self._find(bucket, key)
        if len(data) > max_bytes:
            raise TooLarge(f"{key}: more than {max_bytes} bytes")
        return data

    def exists(self, key: str) -> bool:
        self._answer()
        return (self.bucket, key) in self.objects

    def delete(self, keys: Iterable[str]) -> None:
        self._answer()
        with self._lock:
            for key in keys:
                self.objects.pop((self.bucket, key), None)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._answer()
        with self._lock:
            found = sorted(
                (key, len(data))
                for (bucket, key), data in self.objects.items()
                if bucket == self.bucket and key.startswith(prefix)
            )
        for key, size in found:
            yield StoredObject(key, size, self._modified_at[key])

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
