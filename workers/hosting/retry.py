"""Trying again what a host turned away for the moment. Free of any host's SDK."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from shared.errors import HostUnavailable

T = TypeVar("T")

RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


class TurnedAway(Exception):
    """The same request may succeed later: after `delay_s`, where the host says so."""

    def __init__(self, reason: str, delay_s: float | None = None) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


@dataclass(frozen=True)
class Patience:
    """How often a request is made, and for how long after the first time."""

    tries: int = 5
    total_s: float = 120.0
    pause_s: float = 1.0  # before the second try; twice as long before each later one

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives, asked again when it raises TurnedAway. Raises HostUnavailable."""
        limit = time.monotonic() + self.total_s
        for tried in range(1, self.tries + 1):
            try:
                return await ask()
            except TurnedAway as error:
                refused = error
            delay = refused.delay_s
            if delay is None:  # those who were turned away together shall not come back together
                delay = self.pause_s * 2 ** (tried - 1) * random.uniform(0.5, 1.0)
            if tried == self.tries or time.monotonic() + delay > limit:
                break
            await asyncio.sleep(delay)
        raise HostUnavailable(f"{refused} (tries: {tried})")


def told_delay_s(headers: Mapping[str, str], body: Any) -> float | None:
    """How long a host asks to wait, by `Retry-After` (RFC 9110) or google.rpc.RetryInfo.

    The longer one of the two; None where it says nothing that can be read.
    """
    told = [*_retry_after(headers.get("retry-after", "")), *_retry_info(body)]
    return max((0.0, *told)) if told else None


def _retry_after(text: str) -> list[float]:
    with suppress(ValueError):
        return [float(text)]
    with suppress(TypeError, ValueError):
        return [(parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()]
    return []


def _retry_info(body: Any) -> list[float]:
    with suppress(AttributeError, LookupError, TypeError, ValueError):
        return [
            float(each["retryDelay"].removesuffix("s"))
            for each in body["error"]["details"]
            if each.get("@type") == RETRY_INFO and "retryDelay" in each
        ]
    return []
