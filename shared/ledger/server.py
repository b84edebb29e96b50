"""The ledger's server: the connection to it, its scripts, and whether it may be trusted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import ExponentialBackoff
from redis.commands.core import Script
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import LedgerUnavailable, SettingsError
from shared.settings import Settings

SCRIPTS = Path(__file__).with_name("lua")
PRELUDE = "common.lua", "common_batches.lua"  # before every script
PUBLISH_GRACE_MS = 10_000  # how long a message may travel before REAP asks whether it was lost


def script_source(name: str) -> str:
    """What the ledger's server runs of this name in `lua/`."""
    files = (*PRELUDE, f"{name}.lua")
    return "".join((SCRIPTS / file).read_text(encoding="utf-8") for file in files)


@contextmanager
def translated() -> Iterator[None]:
    """Any trouble with the server, also one that refuses writes, is LedgerUnavailable."""
    try:
        yield
    except RedisError as error:
        raise LedgerUnavailable(f"the ledger does not answer: {error}") from error


class LedgerServer:
    """Runs the scripts over one Redis connection pool; safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client  # the library's types hide what decode_responses gives
        self._settings = settings
        self._scripts: dict[str, Script] = {
            file.stem: client.register_script(script_source(file.stem))
            for file in SCRIPTS.glob("*.lua")
            if file.name not in PRELUDE
        }

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """A ledger at LEDGER_URL; the first call opens the connection."""
        client = redis.Redis.from_url(
            settings.ledger_url,
            decode_responses=True,
            socket_timeout=5,
            socket_connect_timeout=2,
            health_check_interval=15,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=2),
        )
        return cls(client, settings)

    def _run(self, script: str, *args: Any) -> Any:
        with translated():
            return self._scripts[script](args=args)

    def ping(self) -> None:
        """Raises LedgerUnavailable."""
        with translated():
            self._redis.ping()

    def check(self) -> None:
        """Refuse a server that could forget jobs. Raises SettingsError, LedgerUnavailable."""
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        with translated():
            for name, value in wanted.items():
                found = self._redis.config_get(name).get(name)
                if found != value:
                    raise SettingsError(
                        f"IMAGEMILL_LEDGER_URL: the server has {name} {found}, not {value}; "
                        "it would lose accepted jobs"
                    )

    def counters(self) -> dict[str, int]:
        """How often each transition happened since the ledger began."""
        with translated():
            return {name: int(n) for name, n in self._redis.hgetall("counters").items()}
