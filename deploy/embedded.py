"""The embedded stack: everything that imagemill needs, on this machine, in the foreground.

python -m deploy.embedded

Starts Redis-protocol servers (ledger, broker), an S3 server, the API, the keeper of batches, one
worker per family and the reaper; prints `ready URL`; starts again whatever dies; stops all of it on
Ctrl-C or SIGTERM (at once on the second). `--servers` starts the three servers only, for an API and
workers run by hand or by tests.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import Any

from deploy import files, ports, servers
from deploy.settings import StackSettings, load_stack_settings
from deploy.supervisor import Interrupted, Part, PartFailed, StackError, Supervisor
from shared.errors import SettingsError

ROOT = Path(__file__).resolve().parents[1]
PORT_TRIES = 5
START_TRIES = 5
# For a part that hangs: one that ends is noticed at once. A first start on a slow
# disk, all workers together, takes minutes.
SERVERS_TIMEOUT_S = 120.0
STACK_TIMEOUT_S = 600.0
SAME_REQUEST_S = 1.0  # make passes on a SIGTERM that the whole process group got as well


class StopRequests:
    """Counts the signals that ask the stack to stop."""

    def __init__(self) -> None:
        self.count = 0
        self._last = float("-inf")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > SAME_REQUEST_S:
            self.count += 1
            self._last = now


def say(line: str) -> None:
    """Print a line at once; a closed terminal or pipe must not end the stack."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


class Stack:
    """One stack on one data folder, which the caller has locked."""

    def __init__(self, settings: StackSettings, listener: socket.socket | None) -> None:
        """`listener`: where the API answers; None for the servers only."""
        self._settings = settings
        self._folder = settings.data_dir
        self._families = settings.chosen_families()
        self._listener = listener
        self._port = listener.getsockname()[1] if listener else None
        self._credentials = files.Credentials.keep(self._folder)
        self._stopping = StopRequests()
        logs = self._folder / "logs"
        logs.mkdir(exist_ok=True)
        self._supervisor = Supervisor(logs, lambda: self._stopping.count, say, self._write)
        self._joined: dict[str, str] = {}  # the settings that name the servers, once they run

    @property
    def api_url(self) -> str | None:
        return f"http://{ports.HOST}:{self._port}" if self._port else None

    def run(self) -> None:
        """Start, supervise, and stop when asked to. Raises StackError."""
        try:
            self._start_servers()
            if self._listener is not None:
                self._start_service()
            say(f"ready {self.api_url}" if self.api_url else "ready")
            self._supervisor.run_until(lambda: False)
        except Interrupted:
            say("stopping")
        finally:
            self._stop()

    def _start_servers(self) -> None:
        keys = self._credentials
        for attempt in range(1, PORT_TRIES + 1):
            # Another program may take a port between the choice and the start: choose again.
            env = self._environment({})
            ledger = servers.valkey("ledger", self._folder, env, keys.redis_password, "always")
            broker = servers.valkey("broker", self._folder, env, keys.redis_password, "everysec")
            s3 = servers.seaweedfs(self._folder, env, keys.s3_access_key, keys.s3_secret_key)
            self._joined = {
                "IMAGEMILL_LEDGER_URL": ledger.url,
                "IMAGEMILL_BROKER_URL": broker.url,
                "IMAGEMILL_S3_ENDPOINT": s3.url,
                "IMAGEMILL_S3_BUCKET": servers.BUCKET,
                "IMAGEMILL_S3_ACCESS_KEY": keys.s3_access_key,
                "IMAGEMILL_S3_SECRET_KEY": keys.s3_secret_key,
                "IMAGEMILL_MODELS_DIR": str(self._settings.models_dir.resolve()),
            }
            if self.api_url:
                self._joined["IMAGEMILL_URL"] = self.api_url
            parts = [ledger.part, broker.part, s3.part]
            try:
                self._supervisor.start(parts, deaths=1, timeout_s=SERVERS_TIMEOUT_S)
            except PartFailed:
                if attempt == PORT_TRIES:
                    raise
                self._supervisor.stop()
            else:
                return

    def _start_service(self) -> None:
        env = self._environment(self._joined)
        reaper = Part("reaper", [sys.executable, "-m", "shared.reaper"], env, ROOT)
        batches = Part("batches", [sys.executable, "-m", "api.batches"], env, ROOT)
        workers = [self._worker(env, name) for name in self._families]
        parts = [self._web(env), batches, reaper, *workers]
        self._supervisor.start(parts, START_TRIES, STACK_TIMEOUT_S)

    def _web(self, env: Mapping[str, str]) -> Part:
        assert self._listener is not None
        descriptor = self._listener.fileno()
        # The socket is handed down: the port cannot be lost, and requests that come while the
        # API is started again wait instead of being refused.
        arguments = ["-m", "gunicorn", "-c", "gunicorn.conf.py", "-b", f"fd://{descriptor}"]
        command = [sys.executable, *arguments, "api.wsgi:app"]

        def probe(pid: int) -> bool:
            return bool(get_json(f"{self.api_url}/readyz"))

        return Part("web", command, env, ROOT, probe, grace_s=15, pass_fds=[descriptor])

    def _worker(self, env: Mapping[str, str], family: str) -> Part:
        command = [sys.executable, "-m", "workers", "--family", family, "--device", "cpu"]

        def probe(pid: int) -> bool:
            """Whether this very process, not one of an earlier run, is listed as alive."""
            listed = get_json(f"{self.api_url}/v1/workers").get("data", [])
            return (family, pid) in {(worker["family"], worker["pid"]) for worker in listed}

        grace_s = self._settings.shutdown_grace_s + 5
        return Part(f"worker-{family}", command, env, ROOT, probe, grace_s)

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The caller's environment with these settings, and the data folder by its full path."""
        folder = {"IMAGEMILL_DATA_DIR": str(self._folder)}
        return {**os.environ, **folder, **settings, "PYTHONUNBUFFERED": "1"}

    def _write(self, pids: Mapping[str, int]) -> None:
        joined = self._joined
        info: dict[str, Any] = {
            "api_url": self.api_url,
            "api_key": None,
            "ledger_url": joined["IMAGEMILL_LEDGER_URL"],
            "broker_url": joined["IMAGEMILL_BROKER_URL"],
            "s3_endpoint": joined["IMAGEMILL_S3_ENDPOINT"],
            "s3_bucket": joined["IMAGEMILL_S3_BUCKET"],
            "s3_access_key": joined["IMAGEMILL_S3_ACCESS_KEY"],
            "s3_secret_key": joined["IMAGEMILL_S3_SECRET_KEY"],
            "pids": pids,
        }
        try:
            files.write_stack(self._folder, info, {**self._settings.passed_on(), **joined})
        except OSError as error:  # a full disk must not end what still runs
            say(f"cannot write {files.STACK_JSON}: {error.strerror}")

    def _stop(self) -> None:
        """First what takes and does work, the reaper, then what they all stand on."""
        if self._listener is not None:
            self._listener.close()
        names = self._supervisor.pids
        workers = [name for name in names if name.startswith("worker-")]
        takes = ["web", "batches", *workers]
        self._supervisor.stop([takes, ["reaper"], ["s3"], ["broker", "ledger"]])
        files.remove_stack(self._folder)


def get_json(url: str) -> dict[str, Any]:
    """The JSON object at the address; empty where it does not answer with one yet."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=3) as r:
            found = json.load(r)
    except (OSError, HTTPException, ValueError):  # HTTPException: it was killed while it answered
        return {}
    return found if isinstance(found, dict) else {}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded")
    parser.add_argument("--servers", action="store_true", help="only Redis (twice) and S3")
    only_servers = parser.parse_args().servers
    try:
        settings = load_stack_settings()
        with files.open_folder(settings.data_dir):
            try:
                listener = None if only_servers else ports.listen(settings.port)
            except OSError as error:
                reason = f"port {settings.port}: {error.strerror}"
                raise StackError(f"IMAGEMILL_PORT: {reason}") from None
            Stack(settings, listener).run()
    except (StackError, SettingsError) as error:
        sys.exit(f"imagemill: {error}")


if __name__ == "__main__":
    main()
