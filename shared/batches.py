"""A batch: thousands of items of one user, cut into chunks of CHUNK consecutive ones.

Its *index* is the source's lines as chunks in S3. A chunk is *opened* (its jobs are submitted),
runs, and is *closed* (its results lie in S3 and its jobs are forgotten), so that the ledger knows
only of open chunks, and the numbers of those with failures.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from shared.contracts import Frozen


class BatchStatus(StrEnum):
    """Where a batch stands; names as in OpenAI's interface, and `paused`."""

    VALIDATING = "validating"  # accepted; its source is being read
    FAILED = "failed"  # its source is of no use; `problems` say why
    IN_PROGRESS = "in_progress"  # chunks are opened
    PAUSED = "paused"  # no chunk is opened; open ones go on to their end
    FINALIZING = "finalizing"  # no item is left to be run; the results are joined
    COMPLETED = "completed"  # every item ended, well or badly
    CANCELLING = "cancelling"  # a cancel was accepted, or its time is over: open chunks are closed
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # its completion window passed

    @property
    def terminal(self) -> bool:
        return self in TERMINAL_BATCH


TERMINAL_BATCH = frozenset(
    {BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.CANCELLED, BatchStatus.EXPIRED}
)

Ending = Literal[BatchStatus.COMPLETED, BatchStatus.CANCELLED, BatchStatus.EXPIRED]
PausedBy = Literal["user", "schedule"]


class BatchCounts(Frozen):
    """How many items there are (None before they are counted), and how many ended how.

    Items of a cancelled batch that were never opened are in neither count.
    """

    total: int | None = None
    completed: int = 0
    failed: int = 0


class OpenChunk(Frozen):
    """A chunk at work. `opening` is a number that no other opening of the batch has or had.

    `jobs`: ids of the jobs that it is made of; None before all of them are submitted.
    """

    opening: int
    jobs: tuple[str, ...] | None = None


class BatchProblem(Frozen):
    """Why a source is of no use; `line` counts from 1, `param` names a part of the request."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class NewBatch(Frozen):
    """What is recorded of a batch that was asked for; `request` is its document as a whole.

    `files`: the uploads that all of it needs, which stay until it has ended.
    """

    id: str
    tenant: str
    request: dict[str, Any]
    metadata: dict[str, Any] = Field(default_factory=dict)
    base_url: str  # of the API as its user sees it, for the addresses in results
    files: tuple[str, ...] = ()
    start_paused: bool = False
    retention_s: float
    completion_window_s: float | None = None


class BatchRecord(Frozen):
    """A batch as the ledger knows it. Times are milliseconds since the epoch.

    `chunks` is None until they are counted, `next_chunk` the first that was never opened, and
    `redo` how many before it are to be done again. `ends_as` is what follows on `finalizing`.
    The retention begins when the batch has ended, and a retry ends it.
    """

    id: str
    tenant: str
    status: BatchStatus
    request: dict[str, Any]
    metadata: dict[str, Any]
    base_url: str
    files: tuple[str, ...] = ()
    idempotency: tuple[str, str] | None = None  # (key, digest of the body) of its request
    counts: BatchCounts = BatchCounts()
    error_codes: dict[str, int] = Field(default_factory=dict)  # of the failed items
    problems: tuple[BatchProblem, ...] = ()
    chunks: int | None = None
    bytes: int | None = None  # of the source
    next_chunk: int = 0
    redo: int = 0
    retries: int = 0
    open: dict[int, OpenChunk] = Field(default_factory=dict)
    start_paused: bool = False
    paused_by: PausedBy | None = None  # while it is paused
    ends_as: Ending = BatchStatus.COMPLETED
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    paused_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    window_ms: int | None = None  # its completion window, from its creation or latest retry
    deadline_at: int | None = None  # when that is over
    retention_ms: int
    expires_at: int | None = None  # when it is erased; None before it has ended
    notes: dict[str, Any] = Field(default_factory=dict)  # small things that its keeper remembers
