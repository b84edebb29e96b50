"""Whole objects read and written by obstore, which spends a tenth of the processor time that boto3
does on each, and leaves Python's lock alone meanwhile.

With boto3, a worker that has small pictures captioned spends half of its time on fetching them, and
the index of a batch a third on its chunks.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from shared.errors import TooLarge
from shared.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig  # which is not there at run time

WHOLE_TIMEOUT = timedelta(days=1)  # of one object: what counts is that bytes come


class S3Objects:
    """Of any bucket, in one try. What does not work, boto3 does: that knows why it cannot be done,
    what passes, and how to sign where this machine's clock is wrong."""

    def __init__(self, settings: Settings, connect_timeout_s: float, read_timeout_s: float) -> None:
        self._settings = settings
        self._options: ClientConfig = {
            "allow_http": True,
            "user_agent": "imagemill",
            "connect_timeout": timedelta(seconds=connect_timeout_s),
            "read_timeout": timedelta(seconds=read_timeout_s),
            "timeout": WHOLE_TIMEOUT,
        }
        self._buckets: dict[str, S3Store] = {}

    def read(self, bucket: str, key: str, max_bytes: int | None = None) -> bytes | None:
        """The object; None where that did not work. Raises TooLarge."""
        if _altered(key):
            return None
        try:
            found = self._bucket(bucket).get(key)
            if max_bytes is None or found.meta["size"] <= max_bytes:
                return bytes(found.bytes())
        except Exception:  # of many classes, some of them Python's own
            return None
        raise TooLarge(f"{key}: more than {max_bytes} bytes")

    def write(
        self, bucket: str, key: str, data: bytes, media_type: str, metadata: Mapping[str, str]
    ) -> bool:
        """Whether the object is stored, its bytes checked by the server."""
        if _altered(key):
            return False
        about = {**metadata, "Content-Type": media_type}
        try:
            self._bucket(bucket).put(key, data, attributes=about, use_multipart=False)
        except Exception:  # of many classes, some of them Python's own
            return False
        return True

    def _bucket(self, name: str) -> S3Store:
        if name not in self._buckets:
            self._buckets[name] = self._connect(name)
        return self._buckets[name]

    def _connect(self, bucket: str) -> S3Store:
        settings, credentials = self._settings, dict[str, Any]()
        if settings.s3_access_key:
            credentials["access_key_id"] = settings.s3_access_key
            credentials["secret_access_key"] = settings.s3_secret_key
        else:  # those that boto3 finds
            credentials["credential_provider"] = Boto3CredentialProvider()
        return S3Store(
            bucket,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            checksum_algorithm="SHA256",  # of what is written; servers check it
            client_options=self._options,
            retry_config={"max_retries": 0},
            **credentials,
        )


def _altered(key: str) -> bool:
    """Whether obstore would take the key for the one without its outer slashes."""
    return key != key.strip("/")
