"""Where bytes are kept: an S3 bucket, behind an interface that checks every digest.

`shared.testing.object_store` holds the in-memory twin.
"""

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol

from shared.errors import NotFound, StorageCorrupt, StorageUnavailable, TooLarge
from shared.s3_listing import LISTED
from shared.s3_retry import retrying
from shared.s3_server import HIDDEN
from shared.s3_streams import S3Streams, in_parts, md5


@dataclass(frozen=True)
class StoredObject:
    """One entry of a listing; `modified_at` in milliseconds since the epoch, S3's clock."""

    key: str
    bytes: int
    modified_at: int


@dataclass(frozen=True)
class ObjectHead(StoredObject):
    """One object but for its bytes. `metadata` by lower-case names, with `sha256` among them
    (of what was put as a stream: where it was stated, or fitted into one part). `etag` is another
    one where the bytes are others."""

    etag: str
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

    def read_range(self, key: str, offset: int, size: int, bucket: str = "") -> bytes:
        """Some bytes of an object, fewer where it ends before. Raises NotFound, also where it
        ends before `offset`."""

    def stream(self, key: str, bucket: str = "") -> Iterator[bytes]:
        """An object in blocks of at most 1 MiB; goes on where a connection broke off. Raises
        NotFound, and StorageUnavailable where the object was replaced meanwhile."""

    def put_stream(
        self,
        key: str,
        chunks: Iterable[bytes],
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        bucket: str = "",
    ) -> tuple[str, int]:
        """Store bytes of any number; tells their SHA-256 and number. Nobody sees the object
        before it is whole, and nothing is left of it where the chunks end in an error. Raises
        NotFound where a user's `bucket` may not be written."""

    def copy(self, key: str, target_key: str, target_bucket: str = "", bucket: str = "") -> None:
        """Within the server, with its metadata: up to 5 GiB. Raises NotFound, also where the
        target may not be written."""

    def exists(self, key: str) -> bool: ...

    def head(self, key: str, bucket: str = "") -> ObjectHead:
        """Raises NotFound."""

    def delete(self, keys: Iterable[str]) -> None:
        """Erase; a key that is not there is no error."""

    def list(self, prefix: str, after: str = "", bucket: str = "") -> Iterator[StoredObject]:
        """Every object whose key begins with the prefix, in an order of the store's own.

        `after`: only those after this key of an earlier listing, which may be gone by now. What
        is not read is not asked for: objects come in pages of 1000. `bucket`: a user's own;
        raises NotFound where it is not there or may not be read.
        """

    def presigned_get(
        self, key: str, expires_s: int, filename: str, media_type: str, bucket: str = ""
    ) -> str:
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


class S3ObjectStore(S3Streams):
    """AWS S3, MinIO or SeaweedFS."""

    def put(
        self, key: str, data: bytes, media_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._put_whole(key, data, media_type, metadata or {}, "")

    def _put_whole(
        self, key: str, data: bytes, media_type: str, metadata: Mapping[str, str], bucket: str
    ) -> None:
        sha256, place = hashlib.sha256(data).digest(), bucket or self._bucket
        about = {"sha256": sha256.hex(), **metadata}

        def attempt() -> None:
            # The first goes through the client, which learns the server's clock from the answer.
            quick = self._clock.seen and not self._clock.offset_s
            if quick and self._objects.write(place, key, data, media_type, about):
                return
            self._client().put_object(
                Bucket=place,
                Key=key,
                Body=data,
                ContentType=media_type,
                ContentMD5=md5(data),  # checked by every server; SHA-256 by AWS, MinIO, SeaweedFS
                ChecksumSHA256=base64.b64encode(sha256).decode(),
                Metadata=about,
            )

        self._retrying(key, attempt, HIDDEN if bucket else ())

    def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        return self._retrying(
            key, lambda: verify(key, self._whole(self._bucket, key), sha256, size)
        )

    def read(self, bucket: str, key: str, max_bytes: int) -> bytes:
        return self._retrying(key, lambda: self._whole(bucket, key, max_bytes), HIDDEN)

    def _whole(self, bucket: str, key: str, max_bytes: int | None = None) -> bytes:
        if not self._clock.offset_s:
            data = self._objects.read(bucket, key, max_bytes)
            if data is not None:
                return data
        found = self._client().get_object(Bucket=bucket, Key=key)
        with found["Body"] as body:
            if max_bytes is not None and found["ContentLength"] > max_bytes:
                raise TooLarge(f"{key}: more than {max_bytes} bytes")
            return body.read()

    def put_stream(
        self,
        key: str,
        chunks: Iterable[bytes],
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        bucket: str = "",
    ) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for part in in_parts(chunks):
                digest.update(part)
                size += len(part)
                yield part

        parts = counted()
        first, second = next(parts), next(parts, None)
        if second is None:
            self._put_whole(key, first, media_type, metadata or {}, bucket)
        else:
            every = chain([first, second], parts)
            self._put_parts(key, every, media_type, metadata or {}, bucket)
        return digest.hexdigest(), size

    def copy(self, key: str, target_key: str, target_bucket: str = "", bucket: str = "") -> None:
        params = {
            "CopySource": {"Bucket": bucket or self._bucket, "Key": key},
            "Bucket": target_bucket or self._bucket,
            "Key": target_key,
        }
        hidden = HIDDEN if target_bucket or bucket else ()
        self._retrying(key, lambda: self._client().copy_object(**params), hidden)

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def head(self, key: str, bucket: str = "") -> ObjectHead:
        params = {"Bucket": bucket or self._bucket, "Key": key}
        hidden = HIDDEN if bucket else ()
        found = self._retrying(key, lambda: self._client().head_object(**params), hidden)
        return ObjectHead(
            key,
            found["ContentLength"],
            int(found["LastModified"].timestamp() * 1000),
            found["ETag"].strip('"'),
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
            for entry in page[LISTED]:
                yield StoredObject(*entry)
            if not page.get("IsTruncated"):
                return
            params = {**params, "ContinuationToken": page["NextContinuationToken"]}

    def presigned_get(
        self, key: str, expires_s: int, filename: str, media_type: str, bucket: str = ""
    ) -> str:
        if not self._clock.seen:  # an address is signed without asking the server
            with contextlib.suppress(StorageUnavailable):
                self.check()
        return self._client(self._settings.public_endpoint).generate_presigned_url(
            "get_object",
            Params={
                "Bucket": bucket or self._bucket,
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
