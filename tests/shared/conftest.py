from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from deploy.handle import StackHandle
from shared.settings import Settings
from tests.shared.ledger.world import ClockedLedger, ClockedMemoryLedger, ClockedRedis, World

DATABASE = "/9"  # of the shared servers, so that emptying it disturbs no other test


@pytest.fixture
def settings(servers: StackHandle) -> Settings:
    """Settings of the real servers; `broker` and `ledger_client` empty them."""
    return servers.settings.model_copy(
        update={
            "ledger_url": servers.settings.ledger_url.replace("/0", DATABASE),
            "broker_url": servers.settings.broker_url.replace("/0", DATABASE),
            "lease_s": 60.0,
            "step_timeout_s": 600.0,
            "max_attempts": 3,
            "admit_per_queue": 3,
        }
    )


@pytest.fixture
def prefix() -> str:
    """Of S3 keys that no other test uses."""
    return f"tests/{uuid4().hex}/"


@pytest.fixture
def ledger_client(settings: Settings) -> Iterator[redis.Redis]:
    """The ledger's server, empty."""
    client = ClockedRedis.from_url(settings.ledger_url, decode_responses=True)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def broker(settings: Settings) -> Iterator[redis.Redis]:
    """The broker's server, empty."""
    client = redis.Redis.from_url(settings.broker_url, decode_responses=True)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(params=["memory", "server"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The same test against the twin and the real ledger; afterwards nothing may be out of step."""
    settings: Settings = request.getfixturevalue("settings")
    if request.param == "memory":
        world = World(ClockedMemoryLedger(settings))
    else:
        world = World(ClockedLedger(request.getfixturevalue("ledger_client"), settings))
    yield world
    assert list(world.inconsistencies()) == []
