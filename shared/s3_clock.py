"""The S3 server's clock: requests and links are signed by it when this machine's is wrong.

A server refuses what is signed 15 minutes off (RequestTimeTooSkewed), and a link that is signed
too early has expired before its time.
"""

import time
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, S3SigV4Auth, S3SigV4QueryAuth
from botocore.compat import get_current_datetime

TOLERANCE_S = 60.0  # far above a Date header's whole second and a slow answer
SIGNATURE = "imagemill-s3v4"
OFFSET = "imagemill_offset_s"


class ServerClock:
    """What the server's clock shows beyond this machine's, learned from its answers."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.seen = False  # whether the server has answered yet

    def now(self) -> int:
        """Milliseconds since the epoch, by the server's clock."""
        return int((time.time() + self.offset_s) * 1000)

    def follow(self, client: Any) -> None:
        """Learn from the client's answers, and correct what it signs."""
        client.meta.events.register("after-call.s3", self._learn)
        client.meta.events.register_first("choose-signer.s3", self._choose)

    def _learn(self, parsed: dict[str, Any], **_: Any) -> None:
        date = parsed["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        if not date.endswith(" GMT"):  # none, or of an answer that broke off in its headers
            return
        try:
            shown = parsedate_to_datetime(date)
        except ValueError:
            return
        offset_s = shown.timestamp() - time.time()
        if abs(offset_s - self.offset_s) > TOLERANCE_S:
            self.offset_s = offset_s
        self.seen = True

    def _choose(self, context: dict[str, Any], **_: Any) -> str | None:
        if not self.offset_s:
            return None
        context[OFFSET] = self.offset_s
        return SIGNATURE


class _ByServerClock:
    """Shifts the moment of signing; all other parts of a signature follow from it."""

    def _modify_request_before_signing(self, request: Any) -> None:
        moment = get_current_datetime() + timedelta(seconds=request.context[OFFSET])
        request.context["timestamp"] = moment.strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc]


class _HeaderAuth(_ByServerClock, S3SigV4Auth):
    pass


class _QueryAuth(_ByServerClock, S3SigV4QueryAuth):
    pass


AUTH_TYPE_MAPS[SIGNATURE] = _HeaderAuth
AUTH_TYPE_MAPS[f"{SIGNATURE}-query"] = _QueryAuth
