"""The connection to an S3 server: one client for all threads, its retries and its clock."""

import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header

from shared import s3_listing
from shared.s3_clock import ServerClock
from shared.s3_objects import S3Objects
from shared.s3_retry import retrying
from shared.settings import Settings

T = TypeVar("T")

HIDDEN = ("AccessDenied", "403", "NoSuchBucket")  # of a user's bucket: as if nothing were there

_making = threading.Lock()  # sessions are not for several threads at once; their clients are


@cache
def _session() -> boto3.session.Session:
    """One for all clients, which share what it has read of S3's description."""
    return boto3.session.Session()


class S3Server:
    """Transient errors are retried for `retry_s` seconds.

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
        self._connect_timeout_s = min(5.0, max(1.0, retry_s))
        self._read_timeout_s = min(30.0, max(5.0, retry_s))
        self._objects = S3Objects(settings, self._connect_timeout_s, self._read_timeout_s)

    def connect(self) -> None:
        """Make the client now."""
        self._client()

    def _client(self, endpoint: str | None = None) -> Any:
        endpoint = endpoint or self._settings.s3_endpoint
        with self._lock:
            if endpoint not in self._clients:
                self._clients[endpoint] = self._connect(endpoint)
            return self._clients[endpoint]

    def _connect(self, endpoint: str) -> Any:
        with _making:
            client = _session().client(
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
                    connect_timeout=self._connect_timeout_s,
                    read_timeout=self._read_timeout_s,
                    max_pool_connections=64,
                    user_agent="imagemill",  # put together anew for each request otherwise
                ),
            )
        # With it the client waits for ever, whatever its timeouts, where a connection ends within
        # the server's "100 Continue".
        client.meta.events.unregister("before-call.s3", add_expect_header)
        self._clock.follow(client)
        s3_listing.follow(client)
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
