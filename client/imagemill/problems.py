"""What an answer other than success says: the error it stands for, and when to ask again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from imagemill.errors import ApiError, ImagemillError, ServiceUnavailable

BUSY = frozenset({429, 502, 503, 504})  # worth another try


def problem(response: httpx.Response) -> ImagemillError:
    """The error that a refused request stands for, from its problem document if it has one."""
    try:
        document = response.json()
    except ValueError:
        document = None
    told = document if isinstance(document, dict) else {}
    status = response.status_code
    answered = f"{origin(response.url)} answered {status} {response.reason_phrase}".rstrip()
    message = str(told.get("detail") or told.get("title") or answered)
    if status in BUSY and status != 429:
        return ServiceUnavailable(message)
    return ApiError(status, str(told.get("code", "http_error")), message, told.get("errors") or ())


def retry_after(response: httpx.Response) -> float:
    """Seconds that the answer asks to wait, from a number or a date; 0 without a wish."""
    value = response.headers.get("Retry-After", "")
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def origin(url: httpx.URL) -> str:
    """Scheme, host and port: what may be shown of an address that might be presigned."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
