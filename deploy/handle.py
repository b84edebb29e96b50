"""An embedded stack as a child process: for `make run`, tests and benchmarks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.files import STACK_ENV, STACK_JSON
from deploy.process import die_with_parent
from deploy.supervisor import StackError
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
STOP_S = 300.0  # more than any part's grace: what is not gone by then hangs


class StackHandle:
    """Starts `python -m deploy.embedded` and stops it.

    with StackHandle(folder) as stack:
        requests_to(stack.api_url)

    `env` adds settings for all parts; `servers_only` leaves out the API, workers and reaper.
    """

    def __init__(
        self, data_dir: Path, env: Mapping[str, str] | None = None, servers_only: bool = False
    ) -> None:
        self.data_dir = data_dir
        self._env = {"IMAGEMILL_PORT": "0", **(env or {})}
        self._arguments = ["--servers"] if servers_only else []
        self._output = data_dir / "stack.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start without waiting."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        parent = os.getpid()
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.embedded", *self._arguments],
                cwd=ROOT,
                env={**os.environ, **self._env, "IMAGEMILL_DATA_DIR": str(self.data_dir)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),
            )

    def wait_ready(self) -> None:
        """Wait for the line `ready`, for as long as the stack itself waits for its parts. Raises
        StackError with what was printed instead."""
        assert self.process is not None
        while not any(line.startswith("ready") for line in self.printed()):
            if self.process.poll() is not None:
                raise StackError("\n".join(self.printed()) or "the stack ended without a word")
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def printed(self) -> list[str]:
        """The lines that the stack printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace").splitlines()

    @property
    def info(self) -> dict[str, Any]:
        """stack.json as it is now."""
        found: dict[str, Any] = json.loads((self.data_dir / STACK_JSON).read_text("utf-8"))
        return found

    @property
    def api_url(self) -> str:
        return str(self.info["api_url"])

    @property
    def pids(self) -> dict[str, int]:
        """The pid of every part that runs now, by name."""
        return dict(self.info["pids"])

    @property
    def settings(self) -> Settings:
        """The settings that reach the stack's servers."""
        return Settings(**{key: value for key, value in self.info.items() if key != "pids"})

    @contextmanager
    def worker(
        self, family: str, module: str = "workers", env: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """One more worker, which joins the stack by its stack.env; `module` is what runs it."""
        command = [sys.executable, "-m", module, "--family", family, "--device", "cpu"]
        parent = os.getpid()
        with (self.data_dir / "logs" / f"joined-{family}.log").open("ab") as log:
            process = subprocess.Popen(
                ["sh", "-c", '. "$0" && exec "$@"', self.data_dir / STACK_ENV, *command],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: die_with_parent(parent),
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(STOP_S)

    def log_tails(self, lines: int = 30) -> str:
        """The end of every part's log, to be shown when something failed."""
        logs = [self._output, *sorted((self.data_dir / "logs").glob("*.log"))]
        tails = []
        for log in logs:
            text = log.read_text(encoding="utf-8", errors="replace").splitlines()
            tails.append("\n".join([f"--- {log.name}", *text[-lines:]]))
        return "\n".join(tails)
