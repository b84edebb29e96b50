"""The in-memory twin of `shared.object_store.S3ObjectStore`."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote

from shared.errors import NotFound, StorageUnavailable, TooLarge
from shared.object_store import ObjectHead, StoredObject, verify
from shared.s3_streams import BLOCK


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

    def read_range(self, key: str, offset: int, size: int, bucket: str = "") -> bytes:
        data = self._find(bucket or self.bucket, key)
        if size > 0 and offset >= len(data):
            raise NotFound(f"no such bytes: {key}")
        return data[offset : offset + max(0, size)]

    def stream(self, key: str, bucket: str = "") -> Iterator[bytes]:
        data = self._find(bucket or self.bucket, key)
        for start in range(0, len(data), BLOCK):
            self._answer()
            yield data[start : start + BLOCK]

    def put_stream(
        self,
        key: str,
        chunks: Iterable[bytes],
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        bucket: str = "",
    ) -> tuple[str, int]:
        data = b"".join(chunks)
        if bucket in ("", self.bucket):
            self.put(key, data, media_type, metadata)
        elif bucket in self._buckets():
            self.objects[bucket, key] = data
        else:
            raise NotFound(f"no such bucket: {bucket}")
        return hashlib.sha256(data).hexdigest(), len(data)

    def copy(self, key: str, target_key: str, target_bucket: str = "", bucket: str = "") -> None:
        data = self._find(bucket or self.bucket, key)
        head = self.head(key, bucket)
        if target_bucket:
            if target_bucket not in self._buckets():
                raise NotFound(f"no such bucket: {target_bucket}")
            self.objects[target_bucket, target_key] = data
        else:
            self.put(target_key, data, head.media_type, head.metadata)

    def exists(self, key: str) -> bool:
        self._answer()
        return (self.bucket, key) in self.objects

    def head(self, key: str, bucket: str = "") -> ObjectHead:
        data = self._find(bucket or self.bucket, key)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if bucket:
            return ObjectHead(key, len(data), 0, etag, "application/octet-stream", {})
        modified_at, media_type = self._modified_at[key], self._media_types[key]
        return ObjectHead(key, len(data), modified_at, etag, media_type, self.metadata[key])

    def delete(self, keys: Iterable[str]) -> None:
        self._answer()
        with self._lock:
            for key in keys:
                self.objects.pop((self.bucket, key), None)

    def list(self, prefix: str, after: str = "", bucket: str = "") -> Iterator[StoredObject]:
        self._answer()
        with self._lock:
            if bucket and bucket not in self._buckets():
                raise NotFound(f"no such bucket: {bucket}")
            found = sorted(
                (key, len(data))
                for (place, key), data in self.objects.items()
                if place == (bucket or self.bucket) and key.startswith(prefix) and key > after
            )
        for key, size in found:
            yield StoredObject(key, size, self._modified_at.get(key, 0))

    def presigned_get(
        self, key: str, expires_s: int, filename: str, media_type: str, bucket: str = ""
    ) -> str:
        return f"{self.endpoint}/{bucket or self.bucket}/{quote(key)}?expires={expires_s}"

    def check(self) -> None:
        self._answer()

    def _buckets(self) -> set[str]:
        return {self.bucket, *(bucket for bucket, _ in self.objects)}

    def _find(self, bucket: str, key: str) -> bytes:
        self._answer()
        try:
            return self.objects[bucket, key]
        except KeyError:
            raise NotFound(f"no such object: {key}") from None

    def _answer(self) -> None:
        if self.down:
            raise StorageUnavailable("S3 does not answer")
