"""`Prefer: wait=N`: hold the answer until a job has ended, for a while."""

import re
import time

from api.services import Services
from api.shutdown import STOPPING
from shared.contracts import JobRecord
from shared.errors import LedgerUnavailable

MAX_WAIT_S = 60
POLL_S = 0.08

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def preferred(prefer: str) -> int | None:
    """The seconds that a Prefer header asks to wait, at most MAX_WAIT_S; None if it does not."""
    found = _WAIT.search(prefer)
    return min(int(found.group(1)), MAX_WAIT_S) if found else None


def wait(services: Services, job: JobRecord, seconds: float) -> JobRecord:
    """The job once it has ended, the time is up, or this process is told to stop."""
    end = time.monotonic() + seconds
    while not job.status.terminal and time.monotonic() < end and not STOPPING.wait(POLL_S):
        try:
            job = services.ledger.get(job.id)
        except LedgerUnavailable:  # what is known already is a true answer
            break
    return job
