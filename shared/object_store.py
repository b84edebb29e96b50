"""Where bytes are kept: an S3 bucket, behind an interface that checks every digest.

`shared.testing.object_store` holds the in-memory twin.
"""

import base64
import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header

from shared.errors import NotFound, StorageCorrupt, StorageUnavailable, TooLarge
from shared.s3_clock import ServerClock
from shared.s3_retry import retrying
from shared.settings import Settings

T = TypeVar("T")

HIDDEN = ("AccessDenied", "403", "NoSuchBucket")  # of a user's bucket: as if nothing were there


@dataclass(frozen=True)
class StoredObject:
    """One entry of a listing; `modified_at` in milliseconds since the epoch, S3's clock."""

    key: str
    bytes: int
    modified_at: int


@dataclass(frozen=True)
class ObjectHead(StoredObject):
    """One object but for its bytes. `metadata` by lower-case names, with `sha256` among them."""

    media_type: str
    metadata: Mapping[str, str]


class ObjectStore(Protocol):
    """Every method raises StorageUnavailable where the store does not answer or refuses."""

    def put(
        self, key: str, data: bytes, media_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Store the bytes; safe to repeat. `metadata` is ASCII."""

    def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        """The bytes, checked against the digest and size that are given. Raises NotFound,
        StorageCorrupt."""

    def read(self, bucket: str, key: str, max_bytes: int) -> bytes:
        """A user's own object in any bucket. Raises NotFound (also where it may not be read)
        and TooLarge."""

    def exists(self, key: str) -> bool: ...

    def head(self, key: str) -> ObjectHead:
        """Raises NotFound."""

    def delete(self, keys: Iterable[str]) -> None:
        """Erase; a key that is not there is no error."""

    def list(self, prefix: str, after: str = "", bucket: str = "") -> Iterator[StoredObject]:
        """Every object whose key begins with the prefix, in an order of the store's own.

        `after`: only those after this key of an earlier listing, which may be gone by now. What
        is not read is not asked for: objects come in pages of 1000. `bucket`: a user's own;
        raises NotFound where it is not there or may not be read.
        """

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str:
        """An address at the public endpoint that serves the object until it expires."""

    def check(self) -> None:
        """One quick question to the bucket."""

    def now(self) -> int:
        """Milliseconds since the epoch, by the clock that dates the objects."""


def verify(key: str, data: bytes, sha256: str | None, size: int | None) -> bytes:
    """The data. Raises StorageCorrupt where size or digest differ."""
    if size is not None and len(data) != size:
        raise StorageCorrupt(f"{key}: {len(data)} bytes instead of {size}")
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise StorageCorrupt(f"{key}: the SHA-256 differs")
    return data


def disposition(filename: str) -> str:
    """A Content-Disposition to show the object in the browser under this name."""
    return f'inline; filename="{re.sub(r"[^A-Za-z0-9._-]", "_", filename)}"'


class S3ObjectStore:
    """AWS S3, MinIO or SeaweedFS. Transient errors are retried for `retry_s` seconds.

    The client is made at first use and shared by all threads. What it signs is dated by the
    server's clock, should this machine's be wrong.
    """

    def __init__(self, settings: Settings, retry_s: float = 30.0) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._clock = ServerClock()

    def put(
        self, key: str, data: bytes, media_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        # Content-MD5 is checked by every server, the SHA-256 by AWS and MinIO.
        sha256 = hashlib.sha256(data).digest()
        params = {
            "Bucket": self._bucket,
            "Key": key,
            "Body": data,
            "ContentType": media_type,
            "ContentMD5": _base64(hashlib.md5(data, usedforsecurity=False).digest()),
            "ChecksumSHA256": _base64(sha256),
            "Metadata": {"sha256": sha256.hex(), **(metadata or {})},
        }
        self._retrying(key, lambda: self._client().put_object(**params))

    def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        def attempt() -> bytes:
            body = self._client().get_object(Bucket=self._bucket, Key=key)["Body"]
            with body:
                return verify(key, body.read(), sha256, size)

        return self._retrying(key, attempt)

    def read(self, bucket: str, key: str, max_bytes: int) -> bytes:
        def attempt() -> bytes:
            found = self._client().get_object(Bucket=bucket, Key=key)
            with found["Body"] as body:
                if found["ContentLength"] > max_bytes:
                    raise TooLarge(f"{key}: more than {max_bytes} bytes")
                return body.read()

        return self._retrying(key, attempt, HIDDEN)

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def head(self, key: str) -> ObjectHead:
        found = self._retrying(
            key, lambda: self._client().head_object(Bucket=self._bucket, Key=key)
        )
        return ObjectHead(
            key,
            found["ContentLength"],
            int(found["LastModified"].timestamp() * 1000),
            found["ContentType"],
            # Servers differ in the case of the names: they travel as HTTP headers.
            {name.lower(): value for name, value in found["Metadata"].items()},
        )

    def delete(self, keys: Iterable[str]) -> None:
        # One by one: servers differ in the checksum that a bulk delete must carry.
        for key in keys:
            self._delete(key)

    def _delete(self, key: str) -> None:
        self._retrying(key, lambda: self._client().delete_object(Bucket=self._bucket, Key=key))

    def list(self, prefix: str, after: str = "", bucket: str = "") -> Iterator[StoredObject]:
        params = {"Bucket": bucket or self._bucket, "Prefix": prefix}
        hidden = HIDDEN if bucket else ()
        if after:
            params["StartAfter"] = after
        while True:
            ask = partial(self._client().list_objects_v2, **params)
            page = self._retrying(prefix, ask, hidden)
            for entry in page.get("Contents", ()):
                modified_at = int(entry["LastModified"].timestamp() * 1000)
                yield StoredObject(entry["Key"], entry["Size"], modified_at)
            if not page.get("IsTruncated"):
                return
            params = {**params, "ContinuationToken": page["NextContinuationToken"]}

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str:
        if not self._clock.seen:  # an address is signed without asking the server
            with contextlib.suppress(StorageUnavailable):
                self.check()
        return self._client(self._settings.public_endpoint).generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ResponseContentDisposition": disposition(filename),
                "ResponseContentType": media_type,
            },
            ExpiresIn=expires_s,
        )

    def check(self) -> None:
        def attempt() -> None:
            self._client().head_bucket(Bucket=self._bucket)

        try:
            retrying(self._bucket, partial(self._corrected, attempt), retry_s=0)
        except NotFound:
            raise StorageUnavailable(f"S3 has no bucket {self._bucket}") from None

    def now(self) -> int:
        return self._clock.now()

    def _client(self, endpoint: str | None = None) -> Any:
        endpoint = endpoint or self._settings.s3_endpoint
        with self._lock:
            if endpoint not in self._clients:
                self._clients[endpoint] = self._connect(endpoint)
            return self._clients[endpoint]

    def _connect(self, endpoint: str) -> Any:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=self._settings.s3_region,
            aws_access_key_id=self._settings.s3_access_key or None,
            aws_secret_access_key=self._settings.s3_secret_key or None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path", "payload_signing_enabled": True},
                # put() sends its own checksums; those of the client come as trailers, which
                # not every server reads, and as headers that presigned addresses cannot have.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"total_max_attempts": 1},
                connect_timeout=min(5.0, max(1.0, self._retry_s)),
                read_timeout=min(30.0, max(5.0, self._retry_s)),
                max_pool_connections=64,
            ),
        )
        # With it the client waits for ever, whatever its timeouts, where a connection ends within
        # the server's "100 Continue".
        client.meta.events.unregister("before-call.s3", add_expect_header)
        self._clock.follow(client)
        return client

    def _retrying(self, what: str, attempt: Callable[[], T], hidden: tuple[str, ...] = ()) -> T:
        return retrying(what, partial(self._corrected, attempt), self._retry_s, hidden)

    def _corrected(self, attempt: Callable[[], T]) -> T:
        """The attempt, made once more where its refusal showed that this clock is wrong."""
        before = self._clock.offset_s
        try:
            return attempt()
        except ClientError:
            if self._clock.offset_s == before:
                raise
            return attempt()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
