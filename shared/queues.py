"""The broker: a doorbell that carries ids. What is to be done stands in the ledger.

One function, `admit`, moves work from the ledger's queues to the broker's. A job's steps travel
as a Celery chain of immutable signatures `(job id, step index)`, dispatched by name, so that a
publisher needs no worker code.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, chain
from kombu.exceptions import OperationalError
from redis.exceptions import ResponseError

from shared import logs
from shared.errors import ImagemillError, SettingsError
from shared.ledger import Ledger
from shared.ledger.records import Publication
from shared.settings import Settings

STEP_TASK = "imagemill.step"
VISIBILITY_TIMEOUT_S = 6 * 3600  # far above any step: redelivery is the ledger's business

LOOK_S = 0.2  # after which a consumer looks at other queues than the empty ones that it asked

log = logs.get(__name__)


class BrokerUnavailable(ImagemillError):
    """The broker does not answer. Nothing is lost: the ledger's reaper publishes again."""

    code = "broker_unavailable"
    retryable = True


def broker_app(
    settings: Settings,
    socket_timeout_s: float = 10.0,
    queue_order: str | Callable[[], Any] = "sorted",
    transport: str | None = None,
) -> Celery:
    """A Celery app on BROKER_URL; connects to nothing yet.

    `socket_timeout_s`: when a server that accepts but does not answer is given up.
    `queue_order`: in which a consumer takes from its queues, as kombu names it or makes it
    (`kombu.utils.scheduling`).
    `transport`: in place of kombu's for Redis, one made of it (`module:class`).
    """
    app = Celery("imagemill", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        # There is no result backend: results are the ledger's.
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_track_started=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_redirect_stdouts=False,
        # True lost jobs at restarts of the server.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport=transport,
        # As for the ledger: a server's certificate is verified.
        broker_use_ssl={"ssl_cert_reqs": "required"}
        if settings.broker_url.startswith("rediss:")
        else None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "queue_order_strategy": queue_order,  # interactive queues sort before bulk ones
            "polling_interval": LOOK_S,
            "socket_timeout": socket_timeout_s,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
        task_publish_retry=True,
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
    )
    return app


def publish(app: Celery, publication: Publication) -> None:
    """Publish the rest of a job's chain. Raises BrokerUnavailable."""
    first = publication.step
    signatures = [
        app.signature(STEP_TASK, args=(publication.job_id, first + i), immutable=True, queue=queue)
        for i, queue in enumerate(publication.queues)
    ]
    try:
        chain(*signatures, app=app).apply_async()
    except OperationalError as error:
        raise BrokerUnavailable(f"the broker does not answer: {error}") from error


def publish_all(app: Celery, publications: Iterable[Publication]) -> int:
    """Publish each; what the broker does not take now, the reaper publishes again."""
    count = 0
    for publication in publications:
        try:
            publish(app, publication)
        except BrokerUnavailable as error:
            log.warning("publish failed", job_id=publication.job_id, error=error.message)
            break
        count += 1
    return count


def admit(app: Celery, ledger: Ledger, queues: Iterable[str]) -> int:
    """Let waiting steps of these queues into the broker, as far as it has room.

    Returns how many were published. Raises LedgerUnavailable.
    """
    return sum(publish_all(app, ledger.admit(queue)) for queue in queues)


def idle_queues(app: Celery, names: Iterable[str]) -> Iterator[str]:
    """Those of the queues that hold no message in the broker. Raises BrokerUnavailable."""
    names = list(names)
    with _server(app) as server, server.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.llen(name)
        lengths = pipe.execute()
    yield from (name for name, length in zip(names, lengths, strict=True) if length == 0)


def check_broker(app: Celery) -> None:
    """Refuse a server that could drop messages. Raises SettingsError, BrokerUnavailable."""
    with _server(app) as server:
        # INFO is allowed where a managed server forbids CONFIG.
        try:
            policy = server.info("memory")["maxmemory_policy"]
        except ResponseError as error:
            raise SettingsError(f"IMAGEMILL_BROKER_URL: the server refuses INFO: {error}") from None
    if policy != "noeviction":
        raise SettingsError(
            f"IMAGEMILL_BROKER_URL: the server has maxmemory-policy {policy}, not noeviction; "
            "it would drop messages when its memory is full"
        )


def ping(app: Celery) -> None:
    """The same as `check_broker`: a broker that could drop messages is not ready either."""
    check_broker(app)


@contextmanager
def _server(app: Celery) -> Iterator[Any]:
    """A client of the broker's server. Raises BrokerUnavailable, also for its calls."""
    connection = app.connection_for_read()
    try:
        with connection:
            yield connection.default_channel.client
    except (OperationalError, *connection.connection_errors) as error:
        raise BrokerUnavailable(f"the broker does not answer: {error}") from error
