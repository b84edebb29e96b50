"""Starts the parts of a stack, starts again what dies, and stops them in order.

One thread, which must be the main one: children are tied to the thread that started them.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.process import Process

TICK_S = 0.1
PROBE_S = 0.25
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 10.0
STEADY_S = 30.0  # a part that has lived so long is not known to die at once
MAX_LOG_BYTES = 16_000_000


class StackError(Exception):
    """The stack cannot run; the message is one line for a person."""


class PartFailed(StackError):
    """A part died as often as was allowed before it was ready."""


class Interrupted(Exception):
    """Somebody asked the stack to stop."""


@dataclass(frozen=True)
class Part:
    """One process of the stack. `probe` tells, given its pid and without long waits, whether it
    is ready."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    probe: Callable[[int], bool] = lambda pid: True
    grace_s: float = 10.0  # between SIGTERM and SIGKILL
    pass_fds: Sequence[int] = ()
    leaves: Sequence[Path] = ()  # what it does not clean up itself


@dataclass
class Running:
    """A part and how it fares."""

    part: Part
    log: Path
    process: Process
    started_at: float = field(default_factory=time.monotonic)
    ready: bool = False
    probe_at: float = 0.0
    deaths: int = 0  # in a row, without a steady life between
    restart_at: float | None = None


class Supervisor:
    """Supervises parts; `stopping` tells how often it was asked to stop, `say` prints a line,
    `changed` is called with the pids by name whenever one is new. A part that dies over and over
    is started again after longer and longer pauses, `longest_delay_s` at most."""

    def __init__(
        self,
        logs: Path,
        stopping: Callable[[], int],
        say: Callable[[str], None],
        changed: Callable[[dict[str, int]], None],
        longest_delay_s: float = LONGEST_DELAY_S,
    ) -> None:
        self._logs = logs
        self._stopping = stopping
        self._say = say
        self._changed = changed
        self._longest_delay_s = longest_delay_s
        self._running: dict[str, Running] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The pid of every part that runs."""
        return {
            name: running.process.pid
            for name, running in self._running.items()
            if running.restart_at is None
        }

    def start(self, parts: Iterable[Part], deaths: int, timeout_s: float) -> None:
        """Start the parts and wait until all are ready.

        Raises PartFailed once one of them died `deaths` times, StackError after `timeout_s`,
        Interrupted.
        """
        mine = [self._launch(part) for part in parts]
        limit = time.monotonic() + timeout_s

        def up() -> bool:
            for running in mine:
                if running.deaths >= deaths:
                    raise PartFailed(f"{running.part.name} does not start{_last_words(running)}")
            if time.monotonic() > limit:
                late = ", ".join(running.part.name for running in mine if not running.ready)
                raise StackError(f"{late}: not ready after {timeout_s:g} s; see {self._logs}")
            return all(running.ready for running in mine)

        self.run_until(up)

    def run_until(self, done: Callable[[], bool]) -> None:
        """Supervise until `done()`. Raises Interrupted when asked to stop."""
        while True:
            if self._stopping():
                raise Interrupted
            for running in self._running.values():
                self._look_after(running)
            if done():
                return
            time.sleep(TICK_S)

    def stop(self, order: Sequence[Sequence[str]] = ()) -> None:
        """Stop everything: the named groups one after the other, then the rest. Asked to stop
        a second time, kill what is left."""
        for group in [*order, list(self._running)]:
            self._stop([self._running[name] for name in group if name in self._running])

    def _stop(self, group: Sequence[Running]) -> None:
        for running in group:
            running.process.terminate()
        asked_at = time.monotonic()
        while not all(running.process.ended() for running in group):
            waited_s = time.monotonic() - asked_at
            for running in group:
                if waited_s > running.part.grace_s or self._stopping() > 1:
                    running.process.kill()
            time.sleep(TICK_S / 4)
        for running in group:
            self._running.pop(running.part.name)
            for path in running.part.leaves:
                path.unlink(missing_ok=True)

    def _launch(self, part: Part) -> Running:
        log = self._logs / f"{part.name}.log"
        process = Process(part.command, part.env, part.cwd, log, part.pass_fds)
        running = self._running.setdefault(part.name, Running(part, log, process))
        running.process = process
        running.started_at, running.ready, running.restart_at = time.monotonic(), False, None
        self._changed(self.pids)
        return running

    def _look_after(self, running: Running) -> None:
        part, now = running.part, time.monotonic()
        if running.restart_at is not None:
            if now >= running.restart_at:
                self._launch(part)
        elif running.process.ended():
            steady = now - running.started_at >= STEADY_S
            running.deaths = 1 if steady else running.deaths + 1
            delay_s = min(FIRST_DELAY_S * 2 ** (running.deaths - 1), self._longest_delay_s)
            running.restart_at = now + delay_s
            how = running.process.how()
            self._say(f"{part.name} ended ({how}); it is started again in {delay_s:g} s")
        elif not running.ready and now >= running.probe_at:
            running.ready = part.probe(running.process.pid)
            running.probe_at = now + PROBE_S
            if running.ready and running.deaths:
                self._say(f"{part.name} is up again, pid {running.process.pid}")
        _bound(running.log)


def _bound(log: Path) -> None:
    """Keep at most one full file and one before it. The writer has it open for appending, so
    that it goes on in the emptied file."""
    if log.stat().st_size > MAX_LOG_BYTES:
        with suppress(OSError):  # a full disk is one more reason to empty it
            shutil.copyfile(log, log.with_suffix(".log.1"))
        with log.open("r+b") as file:
            file.truncate()


def _last_words(running: Running) -> str:
    """The last line that the part logged, for an error message."""
    lines = running.log.read_text(encoding="utf-8", errors="replace").split("\n")
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {words[:300]} (see {running.log})"
