"""One child process that cannot outlive this one."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec as little as possible should happen.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when `parent`, its parent, ends (Linux).

    It fires when the *thread* that forked ends, so fork from the main thread.
    """
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), number)


class Process:
    """A command in a session of its own, so that a Ctrl-C in the terminal does not reach it.

    What it starts in turn belongs to its process group and ends with it. Its output is appended
    to a file and not piped, so that it can write whatever becomes of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        pass_fds: Sequence[int] = (),
    ) -> None:
        parent = os.getpid()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ended(self) -> bool:
        """Whether it has ended; then the rest of its group is killed as well."""
        if self._popen.returncode is None:
            # Not reaped before its group is killed: until then no one else can get the number.
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, self.pid, options) is None:
                return False
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        return True

    def how(self) -> str:
        """How it ended, in words."""
        status = self._popen.returncode
        if status is None:
            return "runs"
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"

    def terminate(self) -> None:
        """Ask it to end."""
        if self._popen.returncode is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all of its group."""
        if self._popen.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
