"""What the views work with, made once an app and connecting to nothing until used."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from celery import Celery
from flask import current_app

from shared import queues
from shared.ledger import Ledger
from shared.models import Registry
from shared.object_store import ObjectStore, S3ObjectStore
from shared.settings import Settings

STORE_RETRY_S = 4.0  # a client had rather hear 503 than wait for a long recovery
BROKER_TIMEOUT_S = 2.0  # the job is on disk by then: a broker that hangs must not hold the 202
TENANT = "default"


class Broker(Protocol):
    """The doorbell: lets waiting work through to the workers."""

    def admit(self, queues: Iterable[str]) -> None:
        """Raises LedgerUnavailable; what the broker refuses is published again later."""

    def ping(self) -> None:
        """Raises BrokerUnavailable."""


class CeleryBroker:
    """The broker at BROKER_URL."""

    def __init__(self, app: Celery, ledger: Ledger) -> None:
        self._app = app
        self._ledger = ledger

    def admit(self, queues_: Iterable[str]) -> None:
        queues.admit(self._app, self._ledger, queues_)

    def ping(self) -> None:
        queues.ping(self._app)


@dataclass(frozen=True)
class Services:
    """Safe to share between threads."""

    settings: Settings
    registry: Registry
    ledger: Ledger
    store: ObjectStore
    broker: Broker


def connect(
    settings: Settings,
    ledger: Ledger | None = None,
    store: ObjectStore | None = None,
    broker: Broker | None = None,
) -> Services:
    """The services of these settings, or the given ones. Raises SettingsError."""
    registry = Registry.load(settings.models_dir)
    registry.profile(settings.profile)  # refuse a wrong one now
    ledger = ledger or Ledger.connect(settings)
    return Services(
        settings=settings,
        registry=registry,
        ledger=ledger,
        store=store or S3ObjectStore(settings, retry_s=STORE_RETRY_S),
        broker=broker or CeleryBroker(queues.broker_app(settings, BROKER_TIMEOUT_S), ledger),
    )


def services() -> Services:
    """Those of the app that handles this request."""
    return cast(Services, current_app.extensions["imagemill"])
