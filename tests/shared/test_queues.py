"""The broker, on a real server: chains, order, absence."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from deploy.ports import free_ports
from shared.contracts import Priority
from shared.errors import LedgerUnavailable, SettingsError
from shared.ledger import Ledger
from shared.ledger.records import Publication
from shared.queues import (
    STEP_TASK,
    BrokerUnavailable,
    admit,
    broker_app,
    check_broker,
    idle_queues,
    ping,
    publish,
    publish_all,
)
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from tests.shared.ledger.world import new_job
from tests.waiting import PATIENCE_S

CAPTIONER = "1-interactive.captioner.tiny"
DIFFUSER = "1-interactive.diffuser.tiny"
BULK = "2-bulk.captioner.tiny"


@pytest.fixture
def app(settings: Settings, broker: redis.Redis) -> Celery:
    return broker_app(settings)


@pytest.fixture
def absent(settings: Settings) -> Celery:
    """An app whose broker is not there."""
    return broker_app(
        settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{free_ports()}"})
    )


def messages(broker: redis.Redis, queue: str) -> list[tuple[dict[str, Any], Any]]:
    """(headers, body) of what waits in a queue, the oldest first."""
    found = [json.loads(text) for text in broker.lrange(queue, 0, -1)[::-1]]
    return [(m["headers"], json.loads(base64.b64decode(m["body"]))) for m in found]


def test_a_chain_carries_ids_and_the_queue_of_every_link(app: Celery, broker: redis.Redis) -> None:
    publish(app, Publication("job_1", 1, (CAPTIONER, DIFFUSER, BULK)))
    [(headers, (args, kwargs, embed))] = messages(broker, CAPTIONER)
    assert (headers["task"], args, kwargs) == (STEP_TASK, ["job_1", 1], {})
    # Celery takes the next link from the end of the list.
    links = [(link["task"], link["args"], link["options"]["queue"]) for link in embed["chain"]]
    assert links[::-1] == [
        (STEP_TASK, ["job_1", 2], DIFFUSER),
        (STEP_TASK, ["job_1", 3], BULK),
    ]
    assert all(link["immutable"] for link in embed["chain"])


def test_the_last_step_is_published_alone(app: Celery, broker: redis.Redis) -> None:
    publish(app, Publication("job_1", 2, (DIFFUSER,)))
    [(_, (args, _, embed))] = messages(broker, DIFFUSER)
    assert (args, embed["chain"]) == (["job_1", 2], [])


def test_a_consumer_takes_interactive_work_first_and_in_order(app: Celery) -> None:
    publish(app, Publication("bulk", 0, (BULK,)))
    for name in ("first", "second"):
        publish(app, Publication(name, 0, (CAPTIONER,)))
    taken: list[str] = []
    with app.connection_for_read() as connection:
        queues = [app.amqp.queues.select_add(name) for name in (BULK, CAPTIONER)]
        with connection.Consumer(queues, callbacks=[lambda body, m: taken.append(body[0][0])]):
            for _ in range(3):
                connection.drain_events(timeout=PATIENCE_S)
    assert taken == ["first", "second", "bulk"]


def test_admission_publishes_what_the_ledger_lets_through(
    app: Celery, broker: redis.Redis, settings: Settings
) -> None:
    ledger = MemoryLedger(settings)
    ids = [ledger.submit(new_job("captioner")).job_id for _ in range(4)]
    bulk = ledger.submit(new_job("captioner", priority=Priority.BULK)).job_id
    assert admit(app, ledger, [CAPTIONER, BULK, "1-interactive.nothing.tiny"]) == 4
    assert [body[0][0] for _, body in messages(broker, CAPTIONER)] == ids[:3]
    assert [body[0][0] for _, body in messages(broker, BULK)] == [bulk]
    assert admit(app, ledger, [CAPTIONER]) == 0
    assert broker.llen(CAPTIONER) == 3
    ledger.down = True
    with pytest.raises(LedgerUnavailable):
        admit(app, ledger, [CAPTIONER])


def test_idle_queues_are_those_without_a_message(app: Celery) -> None:
    publish(app, Publication("job_1", 0, (CAPTIONER,)))
    assert set(idle_queues(app, [CAPTIONER, DIFFUSER, BULK])) == {DIFFUSER, BULK}
    assert list(idle_queues(app, [])) == []


def test_an_absent_broker_is_told_and_loses_nothing(
    absent: Celery, app: Celery, broker: redis.Redis, settings: Settings, ledger_client: redis.Redis
) -> None:
    with pytest.raises(BrokerUnavailable):
        publish(absent, Publication("job_1", 0, (CAPTIONER,)))
    with pytest.raises(BrokerUnavailable):
        list(idle_queues(absent, [CAPTIONER]))
    assert publish_all(absent, [Publication("job_1", 0, (CAPTIONER,))] * 2) == 0
    ledger = Ledger.connect(settings)
    job_id = ledger.submit(new_job("captioner")).job_id
    assert admit(absent, ledger, [CAPTIONER]) == 0
    assert ledger.queues() == {CAPTIONER: 1}
    assert ledger_client.zrange("due", 0, -1) == [job_id]
    assert ledger.claim(job_id, 0, "w", "t").state == "ok"


def test_a_broker_that_hangs_is_given_up(settings: Settings) -> None:
    """It accepts connections and never answers, as a stopped process does."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as hanging:
        url = f"redis://127.0.0.1:{hanging.getsockname()[1]}"
        app = broker_app(settings.model_copy(update={"broker_url": url}), socket_timeout_s=0.2)
        started = time.monotonic()
        assert publish_all(app, [Publication("job_1", 0, (CAPTIONER,))]) == 0
        assert time.monotonic() - started < 60


# A broker that could drop messages


@contextmanager
def eviction(broker: redis.Redis, policy: str) -> Iterator[None]:
    broker.config_set("maxmemory-policy", policy)
    try:
        yield
    finally:
        broker.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_broker_that_could_drop_messages_is_refused(
    app: Celery, broker: redis.Redis, policy: str
) -> None:
    check_broker(app)
    with eviction(broker, policy):
        for check in (check_broker, ping):
            with pytest.raises(SettingsError, match=f"IMAGEMILL_BROKER_URL.*{policy}"):
                check(app)
    check_broker(app)


def test_a_broker_that_forbids_config_is_checked_all_the_same(
    settings: Settings, broker: redis.Redis
) -> None:
    server = urlsplit(settings.broker_url)
    url = server._replace(netloc=f"managed:secret@{server.hostname}:{server.port}").geturl()
    managed = broker_app(settings.model_copy(update={"broker_url": url}))
    rights = {"enabled": True, "passwords": ["+secret"], "keys": ["*"], "reset": True}
    try:
        broker.acl_setuser("managed", categories=["+@all"], commands=["-config"], **rights)
        check_broker(managed)
        with (
            eviction(broker, "allkeys-random"),
            pytest.raises(SettingsError, match="allkeys-random"),
        ):
            check_broker(managed)
        broker.acl_setuser("managed", categories=["+@all"], commands=["-info"], **rights)
        with pytest.raises(SettingsError, match="INFO"):
            check_broker(managed)
    finally:
        broker.acl_deluser("managed")


def test_a_broker_that_is_away_cannot_be_checked(absent: Celery) -> None:
    with pytest.raises(BrokerUnavailable):
        check_broker(absent)


def test_a_server_behind_tls_must_show_a_certificate(settings: Settings) -> None:
    app = broker_app(settings.model_copy(update={"broker_url": "rediss://redis.example:6379/0"}))
    with app.connection_for_read() as connection:
        assert connection.ssl == {"ssl_cert_reqs": "required"}
