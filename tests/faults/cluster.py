"""A whole service whose every process can be harmed: servers, API, keeper, workers, reapers.

Each process reaches each server through a fault proxy of its own. What dies is started again, as
a supervisor in production does, while a test waits in `until`; call it from the main thread.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import psutil
import redis

from deploy import files, ports, servers
from deploy.supervisor import Part, Supervisor
from shared.contracts import Priority, WorkerRecord, queue_name
from shared.errors import LedgerUnavailable
from shared.ledger import Ledger
from shared.ledger.server import script_source
from shared.object_store import S3ObjectStore
from shared.settings import PREFIX, Settings
from tests.faults.proxy import FaultProxy
from tests.waiting import PATIENCE_S

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = ("-m", "tests.faults.worker")
REAL = ("-m", "workers", "--device", "cpu")
RESTART_S = 1.0  # the longest pause before a part that died is started again


@dataclass(frozen=True)
class Links:
    """A process's ways to the three servers."""

    ledger: FaultProxy
    broker: FaultProxy
    s3: FaultProxy

    def __iter__(self) -> Iterator[FaultProxy]:
        return iter((self.ledger, self.broker, self.s3))


class Cluster:
    """`workers` says how many there are of each family; part names are `api`, `batches` (the
    keeper), `reaper`, `ledger`, `broker`, `s3` and `FAMILY-1`, `FAMILY-2`, …

    `command` starts a worker of scripted families, or (`REAL`) of the shipped tiny models.
    `env` is given to every process, `own_env` to those of the part that it names, if no server.
    """

    def __init__(
        self,
        folder: Path,
        workers: Mapping[str, int],
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = SCRIPTED,
        own_env: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.folder = folder
        self.links: dict[str, Links] = {}
        self._own_env = own_env or {}
        self._workers = workers
        self._command = command
        self._base = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._urls: dict[str, str] = {}
        self._listener: socket.socket | None = None
        logs = folder / "logs"
        logs.mkdir(parents=True)
        self._output = (logs / "cluster.log").open("a", encoding="utf-8")
        self._supervisor = Supervisor(logs, lambda: 0, self._say, lambda _: None, RESTART_S)

    # Life

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is not None:
            print(self.log_tails())

    def _start(self) -> None:
        keys = files.Credentials.keep(self.folder)
        password = keys.redis_password
        ledger = servers.valkey("ledger", self.folder, self._base, password, "always")
        broker = servers.valkey("broker", self.folder, self._base, password, "everysec")
        s3 = servers.seaweedfs(self.folder, self._base, keys.s3_access_key, keys.s3_secret_key)
        self._urls = {"ledger": ledger.url, "broker": broker.url, "s3": s3.url}
        self._base |= {
            "IMAGEMILL_S3_BUCKET": servers.BUCKET,
            "IMAGEMILL_S3_ACCESS_KEY": keys.s3_access_key,
            "IMAGEMILL_S3_SECRET_KEY": keys.s3_secret_key,
        }
        self._supervisor.start([ledger.part, broker.part, s3.part], 1, PATIENCE_S)
        self._listener = ports.listen(0)
        parts = [self._api(), self._keeper(), self._reaper()]
        parts += [self._worker(f) for f, number in self._workers.items() for _ in range(number)]
        self._supervisor.start(parts, 3, PATIENCE_S)

    def close(self) -> None:
        for links in self.links.values():
            for link in links:
                link.heal()
        service = [name for name in self._supervisor.pids if name not in self._urls]
        for pid in self._supervisor.pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._supervisor.stop([service, ["s3"], ["broker", "ledger"]])
        for links in self.links.values():
            for link in links:
                link.close()
        if self._listener is not None:
            self._listener.close()
        self._output.close()

    def add_worker(self, family: str, env: Mapping[str, str] | None = None) -> str:
        """One more worker; its name, once it is up."""
        part = self._worker(family, env)
        self._supervisor.start([part], 3, PATIENCE_S)
        return part.name

    def until(self, condition: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "") -> T:
        """The condition's value once it is true; what dies meanwhile is started again."""
        limit = time.monotonic() + timeout_s
        found: list[T] = []

        def done() -> bool:
            if value := condition():
                found.append(value)
            elif time.monotonic() > limit:
                raise AssertionError(f"timed out after {timeout_s:g} s: {what}")
            return bool(found)

        self._supervisor.run_until(done)
        return found[0]

    def sleep(self, seconds: float) -> None:
        """Let time pass, starting again what dies."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, seconds + PATIENCE_S)

    # Faults

    def pid(self, name: str) -> int:
        """The pid of a part, once it runs; of one that does, any thread may ask."""
        if pid := self._supervisor.pids.get(name):
            return pid
        return self.until(lambda: self._supervisor.pids.get(name), what=f"a running {name}") or 0

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part's own process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(name), number)

    def await_end(self, name: str, pid: int) -> None:
        """Wait until this process of a part has ended."""
        self.until(lambda: self._supervisor.pids.get(name) != pid, what=f"{name} ends")

    def kill(self, name: str) -> None:
        """kill -9 of a part and of all processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid(name), signal.SIGKILL)

    def kill_unheard(self, name: str) -> None:
        """`kill`, and nothing passes that the part has sent and a trap still holds."""
        self.kill(name)
        for link in self.links[name]:
            link.cut()

    def trap(
        self,
        names: Iterable[str],
        server: str,
        pattern: bytes,
        spring: Callable[[str], object],
        after: bool = False,
    ) -> threading.Event:
        """`FaultProxy.trap` for whichever of these parts comes first; `spring` is called with
        its name, on a thread of its own. The event is set once `spring` has returned."""
        first, sprung = threading.Lock(), threading.Event()

        def once(name: str) -> None:
            if first.acquire(blocking=False):
                spring(name)
                sprung.set()

        for name in names:
            link: FaultProxy = getattr(self.links[name], server)
            link.trap(pattern, partial(once, name), after)
        return sprung

    def script(self, name: str) -> bytes:
        """What stands in a request that runs this script of the ledger, which has it now."""
        digest: str = self.redis("ledger").script_load(script_source(name))
        return digest.encode()

    @staticmethod
    def message(family: str) -> bytes:
        """What stands in a request that publishes an interactive step of this family."""
        queue = queue_name(family, "tiny", Priority.INTERACTIVE)
        return f"LPUSH\r\n${len(queue)}\r\n{queue}\r\n".encode()

    def wipe(self, name: str) -> None:
        """kill -9 of `ledger` or `broker`, and the loss of its disk."""
        pid = self.pid(name)
        self.kill(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
        shutil.rmtree(self.folder / name / "appendonlydir")

    def model_pid(self, name: str) -> int | None:
        """The pid of a worker's model process; None while there is none."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid(name)).children():
                if "workers.model_main" in child.cmdline():
                    return child.pid
        return None

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP a part's own process, SIGCONT it at the end."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def everyones(self, server: str) -> list[FaultProxy]:
        """The proxies of all processes to one server: `ledger`, `broker` or `s3`."""
        return [getattr(links, server) for links in self.links.values()]

    # What a test looks at; not through the proxies

    @property
    def api_url(self) -> str:
        assert self._listener is not None
        return f"http://{ports.HOST}:{self._listener.getsockname()[1]}"

    @property
    def settings(self) -> Settings:
        """The settings of the service, by direct addresses."""
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in self._base.items()
            if name.startswith(PREFIX)
        }
        direct = {
            "ledger_url": self._urls["ledger"],
            "broker_url": self._urls["broker"],
            "s3_endpoint": self._urls["s3"],
        }
        return Settings.model_validate({**given, **direct})

    @property
    def ledger(self) -> Ledger:
        return Ledger.connect(self.settings)

    @property
    def store(self) -> S3ObjectStore:
        return S3ObjectStore(self.settings)

    def run(self, *arguments: str) -> str:
        """Run a Python program with the service's settings; what it printed. Raises
        CalledProcessError."""
        given = self.settings.model_dump(include={"ledger_url", "broker_url", "s3_endpoint"})
        env = {**self._base, **{f"{PREFIX}{k.upper()}": v for k, v in given.items()}}
        command = _python(*arguments)
        return subprocess.run(
            command, env=env, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def redis(self, server: str) -> Any:
        """A client of `ledger` or `broker`."""
        return redis.Redis.from_url(self._urls[server], decode_responses=True, socket_timeout=30)

    @property
    def worker_names(self) -> list[str]:
        """The workers' part names."""
        families = tuple(f"{family}-" for family in self._workers)
        return [name for name in self.links if name.startswith(families)]

    def record(self, name: str) -> WorkerRecord | None:
        """What a worker's heartbeat says of it; None while there is none."""
        pid = self._supervisor.pids.get(name)
        return next((w for w in self.ledger.workers() if w.pid == pid), None)

    def holder(self, job_id: str) -> str | None:
        """The name of the worker part that holds a lease on the job's step."""
        worker = self.redis("ledger").hget(f"job:{job_id}", "worker")
        pids = {w.name: w.pid for w in self.ledger.workers()}
        names = {pid: name for name, pid in self._supervisor.pids.items()}
        return names.get(pids.get(worker, 0))

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text("utf-8", errors="replace")

    def log_tails(self, lines: int = 25) -> str:
        """The end of every part's log, to be shown when something failed."""
        self._output.flush()
        tails = []
        for log in sorted((self.folder / "logs").glob("*.log")):
            text = log.read_text("utf-8", errors="replace").splitlines()
            tails.append("\n".join([f"--- {log.name}", *text[-lines:]]))
        return "\n".join(tails)

    # The parts

    def _api(self) -> Part:
        assert self._listener is not None
        fd = self._listener.fileno()
        # The socket is handed down: requests that come while the API restarts wait.
        command = [*_python("-m", "gunicorn", "-c", "gunicorn.conf.py"), "-b", f"fd://{fd}"]
        env = {**self._environment("api"), "WEB_CONCURRENCY": "1"}

        def probe(pid: int) -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{self.api_url}/readyz", timeout=3).is_success
            return False

        return Part("api", [*command, "api.wsgi:app"], env, ROOT, probe, 15, [fd])

    def _keeper(self) -> Part:
        return Part("batches", _python("-m", "api.batches"), self._environment("batches"), ROOT)

    def _reaper(self) -> Part:
        return Part("reaper", _python("-m", "shared.reaper"), self._environment("reaper"), ROOT)

    def _worker(self, family: str, env: Mapping[str, str] | None = None) -> Part:
        number = 1 + sum(name.startswith(f"{family}-") for name in self.links)
        name = f"{family}-{number}"
        command = _python(*self._command, "--family", family)
        environment = {**self._environment(name), **(env or {})}

        def probe(pid: int) -> bool:
            with contextlib.suppress(LedgerUnavailable):
                return pid in {worker.pid for worker in self.ledger.workers()}
            return False

        return Part(name, command, environment, ROOT, probe, 40)

    def _environment(self, name: str) -> dict[str, str]:
        """A part's environment, with proxies of its own."""
        links = Links(*(FaultProxy(_address(self._urls[s])) for s in ("ledger", "broker", "s3")))
        self.links[name] = links
        return {
            **self._base,
            **self._own_env.get(name, {}),
            "IMAGEMILL_LEDGER_URL": _by(self._urls["ledger"], links.ledger),
            "IMAGEMILL_BROKER_URL": _by(self._urls["broker"], links.broker),
            "IMAGEMILL_S3_ENDPOINT": _by(self._urls["s3"], links.s3),
            "IMAGEMILL_S3_PUBLIC_ENDPOINT": self._urls["s3"],
        }

    def _say(self, line: str) -> None:
        self._output.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        self._output.flush()


def _python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _by(url: str, proxy: FaultProxy) -> str:
    """The URL with the proxy's port in place of the server's."""
    return url.replace(f":{_address(url)[1]}", f":{proxy.port}")
