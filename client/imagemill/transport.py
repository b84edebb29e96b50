"""HTTP with retries, problem documents as errors, and no key for any host but the service."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

import httpx

from imagemill.errors import ImagemillError, InvalidInput, ServiceUnavailable
from imagemill.inputs import Upload
from imagemill.problems import BUSY, origin, problem, retry_after
from imagemill.version import __version__

UNREACHABLE = (
    httpx.NetworkError,
    httpx.TimeoutException,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)
FIRST_DELAY = 0.25  # s; doubled for every further try
LONGEST_DELAY = 60.0  # s; a service that asks for more patience gets none


class Transport:
    """Requests to one service.

    Every request may be sent again after a lost connection: all of them are idempotent, and
    a POST of a job carries an Idempotency-Key.
    """

    def __init__(self, url: str, api_key: str | None, timeout: float, retries: int) -> None:
        self.retries = max(0, retries)
        self.timeout = timeout
        headers = {"Accept": "application/json", "User-Agent": f"imagemill/{__version__}"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            base = httpx.URL(url)
            if base.scheme not in ("http", "https") or not base.host:
                raise httpx.InvalidURL("it must begin with http:// or https://")
            tls = httpx.create_ssl_context()
            self._api = httpx.Client(base_url=base, headers=headers, timeout=timeout, verify=tls)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise InvalidInput(f"cannot use the URL {url!r} or its key: {error}") from None
        # Presigned addresses carry their own authorisation and refuse a second one.
        self._storage = httpx.Client(timeout=timeout, follow_redirects=True, verify=tls)

    def close(self) -> None:
        self._api.close()
        self._storage.close()

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        uploads: Sequence[Upload] = (),
        headers: Mapping[str, str] | None = None,
        patience: float = 0.0,
    ) -> Any:
        """The JSON that the service answers; None where the answer is empty.

        `patience` (s) is how much longer than usual the answer may take. Raises ApiError,
        ServiceUnavailable.
        """

        def send() -> httpx.Response:
            with ExitStack() as stack:
                parts = [(u.field, (u.name, stack.enter_context(u.open()))) for u in uploads]
                return self._api.request(
                    method,
                    path,
                    params={k: v for k, v in (params or {}).items() if v is not None},
                    json=body,
                    data=form,
                    files=parts or None,
                    headers=headers,
                    timeout=httpx.Timeout(self.timeout, read=self.timeout + patience),
                )

        response = self._send(send)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise ServiceUnavailable(
                f"{response.url} does not answer like an imagemill service"
            ) from None

    def fetch(self, path: str, target: IO[bytes]) -> None:
        """Writes the content at `path` to `target`, over a redirect to storage if need be."""

        def send() -> httpx.Response:
            target.seek(0)
            target.truncate()
            with self._api.stream("GET", path) as response:
                if response.next_request is None:
                    return drain(response, target)
                address = response.next_request.url
            with self._storage.stream("GET", address) as response:
                return drain(response, target)

        self._send(send)

    def _send(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        for attempt in range(self.retries + 1):
            pause = FIRST_DELAY * 2**attempt * random.uniform(0.8, 1.2)
            try:
                response = send()
            except UNREACHABLE as error:
                failure: ImagemillError = ServiceUnavailable(
                    f"cannot reach {origin(error.request.url)}: {error or type(error).__name__}"
                )
            except httpx.HTTPError as error:
                raise ImagemillError(f"the request cannot be sent: {error}") from error
            else:
                if response.is_success:
                    return response
                failure = problem(response)
                if response.status_code not in BUSY:
                    raise failure
                pause = max(pause, retry_after(response))
            if pause > LONGEST_DELAY or attempt == self.retries:
                break
            time.sleep(pause)
        raise failure


def drain(response: httpx.Response, target: IO[bytes]) -> httpx.Response:
    """Copies a good answer to `target`; a bad one is read, to be told about."""
    if response.is_success:
        for chunk in response.iter_bytes():
            target.write(chunk)
    else:
        response.read()
    return response
