"""Objects of any size, with a block of them in memory at a time."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from shared.errors import ImagemillError
from shared.s3_server import HIDDEN, S3Server

BLOCK = 2**20  # bytes of a stream at once
PART = 8 * 2**20  # bytes; S3 takes parts from 5 MiB on, and 10,000 of them: 78 GiB


class S3Streams(S3Server):
    """Reads in ranges and blocks, writes in parts."""

    def read_range(self, key: str, offset: int, size: int, bucket: str = "") -> bytes:
        if size <= 0:
            return b""

        def attempt() -> bytes:
            with self._open(key, bucket, f"bytes={offset}-{offset + size - 1}")["Body"] as body:
                return body.read()

        # What is behind an object's end is not there either.
        hidden = ("InvalidRange", *(HIDDEN if bucket else ()))
        return self._retrying(key, attempt, hidden)

    def stream(self, key: str, bucket: str = "") -> Iterator[bytes]:
        hidden = HIDDEN if bucket else ()
        found = self._retrying(key, lambda: self._open(key, bucket), hidden)
        body, done = found["Body"], 0

        def block() -> bytes:
            nonlocal body
            if body is None:
                rest = self._open(key, bucket, f"bytes={done}-", IfMatch=found["ETag"])
                body = rest["Body"]
            try:
                return body.read(BLOCK)
            except Exception:
                body.close()
                body = None
                raise

        try:
            while done < found["ContentLength"]:
                data = self._retrying(key, block, hidden)
                done += len(data)
                yield data
        finally:
            if body is not None:
                body.close()

    def _open(self, key: str, bucket: str, range_: str = "", **conditions: str) -> Any:
        if range_:
            conditions["Range"] = range_
        return self._client().get_object(Bucket=bucket or self._bucket, Key=key, **conditions)

    def _put_parts(
        self,
        key: str,
        parts: Iterable[bytes],
        media_type: str,
        metadata: Mapping[str, str],
        bucket: str,
    ) -> None:
        """One object of the parts, of which all but the last have PART bytes."""
        client, place = self._client(), {"Bucket": bucket or self._bucket, "Key": key}
        about = {"ContentType": media_type, "Metadata": dict(metadata)}
        hidden = HIDDEN if bucket else ()
        begun = self._retrying(
            key, lambda: client.create_multipart_upload(**place, **about), hidden
        )
        place["UploadId"] = begun["UploadId"]
        try:
            stored = [self._put_part(place, *each) for each in enumerate(parts, 1)]
            whole = {"Parts": stored}
            self._retrying(
                key, lambda: client.complete_multipart_upload(**place, MultipartUpload=whole)
            )
        except BaseException:
            with suppress(ImagemillError):
                self._retrying(key, lambda: client.abort_multipart_upload(**place))
            raise

    def _put_part(self, place: Mapping[str, str], number: int, data: bytes) -> dict[str, Any]:
        params = {**place, "PartNumber": number, "Body": data, "ContentMD5": md5(data)}
        stored = self._retrying(place["Key"], lambda: self._client().upload_part(**params))
        return {"PartNumber": number, "ETag": stored["ETag"]}


def in_parts(chunks: Iterable[bytes], size: int = PART) -> Iterator[bytes]:
    """The same bytes in pieces of `size`, of which only the last is smaller; at least one."""
    part = bytearray()
    for chunk in chunks:
        part += chunk
        while len(part) > size:
            yield bytes(part[:size])
            del part[:size]
    yield bytes(part)


def md5(data: bytes) -> str:
    """As Content-MD5 has it; every server checks that one."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
