"""What a machine can run out of, memory and disk, and how that is told from other failures."""

import errno
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from shared.errors import DiskFull, OutOfMemory

# What libraries say that raise an exception of their own instead of the system's.
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
NO_SPACE = ("No space left on device", "Disk quota exceeded")
PREFERRED_VICTIM = 500  # of -1000 to 1000; the worker, the ledger and the rest stay at 0
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def exhaustion(error: BaseException) -> OutOfMemory | DiskFull | None:
    """What ran out, where the error says so or came from one that does."""
    for each in _causes(error):
        text = str(each).strip() or type(each).__name__
        number = each.errno if isinstance(each, OSError) else None
        if isinstance(each, MemoryError) or number == errno.ENOMEM or _any_in(NO_MEMORY, text):
            return OutOfMemory(text.splitlines()[0])
        if number in (errno.ENOSPC, errno.EDQUOT) or _any_in(NO_SPACE, text):
            return DiskFull(text.splitlines()[0])
    return None


def _any_in(signs: tuple[str, ...], text: str) -> bool:
    return any(sign in text for sign in signs)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from or while handling, newest first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def prefer_as_victim() -> None:
    """Have the kernel, short of memory, end this process before the others (Linux)."""
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        if int(score.read_text()) < PREFERRED_VICTIM:
            score.write_text(str(PREFERRED_VICTIM))


class OomKills:
    """How often the kernel has ended a process for want of memory, from now on.

    Counted in the control group of process `pid`; where that cannot be read, on the machine.
    """

    def __init__(self, pid: int) -> None:
        readable = (file for file in _group_files(pid) if kills(file) is not None)
        self._file = next(readable, Path("/proc/vmstat"))
        self._before = kills(self._file)

    def rose(self) -> bool:
        """Whether it has happened since."""
        now = kills(self._file)
        return now is not None and self._before is not None and now > self._before


def kills(file: Path) -> int | None:
    """The `oom_kill` counter in one of the kernel's files; None where there is none."""
    try:
        found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def _group_files(pid: int) -> Iterator[Path]:
    """The files of a process's control group that have the counter: version 2's, then 1's."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield CONTROL_GROUPS / group.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield CONTROL_GROUPS / "memory" / group.lstrip("/") / "memory.oom_control"
