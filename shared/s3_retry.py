"""Which errors of an S3 server pass, and how long they are waited for."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as BotoConnectionError
from urllib3.exceptions import HTTPError

from shared.errors import NotFound, StorageCorrupt, StorageUnavailable

T = TypeVar("T")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0

MISSING_CODES = ("NoSuchKey", "NotFound", "404")
TRANSIENT_CODES = {
    "BadDigest",  # the bytes were damaged on their way
    "InternalError",  # also SeaweedFS with a full disk
    "NoSuchBucket",  # a server that has not made it yet
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "XAmzContentSHA256Mismatch",
}


# No answer, or one that broke off or arrived damaged.
LOST = (
    BotoConnectionError,
    HTTPClientError,
    HTTPError,
    IncompleteReadError,
    OSError,
    StorageCorrupt,
)


def retrying(
    what: str, attempt: Callable[[], T], retry_s: float, hidden: tuple[str, ...] = ()
) -> T:
    """Run the attempt until it works, fails for good, or `retry_s` seconds are over.

    Error codes in `hidden` mean "not found" to the caller. Raises NotFound, StorageUnavailable,
    StorageCorrupt.
    """
    end = time.monotonic() + retry_s
    delay = FIRST_PAUSE_S
    while True:
        try:
            return attempt()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in (*MISSING_CODES, *hidden):
                raise NotFound(f"no such object: {what}") from None
            reason: Exception = error
            passes = _passes(error, code)
        except LOST as error:
            reason, passes = error, True
        except BotoCoreError as error:  # no credentials, a malformed key or endpoint
            reason, passes = error, False
        pause = delay * random.uniform(0.5, 1.5)
        if not passes or time.monotonic() + pause >= end:
            if isinstance(reason, StorageCorrupt):
                raise reason
            raise StorageUnavailable(f"S3 does not serve {what}: {reason}") from reason
        time.sleep(pause)
        delay = min(delay * 2, LONGEST_PAUSE_S)


def _passes(error: ClientError, code: str) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or status in (408, 429) or code in TRANSIENT_CODES
