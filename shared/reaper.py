"""The reaper: finds what is overdue in the ledger and sets it going again.

`python -m shared.reaper` runs one, with a collector beside it. Every worker has one of each as
well, so that no process is needed for the others to go on.
"""

import signal
import threading
import time

from celery import Celery

from shared import logs
from shared.collector import S3_RETRY_S, Collector
from shared.errors import LedgerUnavailable, SettingsError
from shared.ledger import Ledger
from shared.object_store import S3ObjectStore
from shared.queues import (
    BrokerUnavailable,
    admit,
    broker_app,
    check_broker,
    idle_queues,
    publish_all,
)
from shared.settings import Settings, load_settings
from shared.sweeper import SWEEP_S, Sweeper

REAP_LIMIT = 1000  # overdue jobs a sweep
UNSERVED_LIMIT = 100  # jobs of one queue that are failed at once
GAP_S = 10.0  # a reaper that did not look for so long knows nothing of what was before

log = logs.get(__name__)


class Reaper(Sweeper):
    """Deals with ledger and broker only: trouble with S3 delays no lease."""

    name = "reaper"

    def __init__(self, app: Celery, ledger: Ledger, settings: Settings) -> None:
        super().__init__(ledger)
        self._app = app
        self._settings = settings
        self._unserved_since: dict[str, float] = {}
        self._watched_at = 0.0

    def sweep(self) -> bool:
        """Publish again what was lost, and admit what waits. Raises LedgerUnavailable."""
        published = self._republish()
        busy = [queue for queue, unclaimed in self._ledger.queues().items() if unclaimed]
        admit(self._app, self._ledger, busy)
        return published >= REAP_LIMIT

    def _republish(self) -> int:
        # Without the broker's word on which queues are empty, only leases and deadlines are
        # dealt with; lost messages are found when it answers again.
        try:
            idle = list(idle_queues(self._app, self._ledger.queues()))
        except BrokerUnavailable as error:
            log.warning("broker unavailable", error=error.message)
            idle = []
        return publish_all(self._app, self._ledger.reap(idle, REAP_LIMIT))

    def watch(self) -> bool:
        """Fail what no worker has served for MODEL_WAIT_S. Raises LedgerUnavailable.

        Every reaper looks for itself, turn or no turn: then it has seen all of that time, by a
        clock of its own, and no other's clock or memory has to be trusted.
        """
        served = {queue for worker in self._ledger.workers() for queue in worker.queues}
        busy = [queue for queue, unclaimed in self._ledger.queues().items() if unclaimed]
        now = time.monotonic()
        known = self._unserved_since if now - self._watched_at < GAP_S else {}
        self._watched_at = now
        self._unserved_since = {
            queue: known.get(queue, now) for queue in busy if queue not in served
        }
        overdue = [
            queue
            for queue, since in self._unserved_since.items()
            if now - since >= self._settings.model_wait_s
        ]
        return any(self._fail_unserved(queue) for queue in overdue)

    def _fail_unserved(self, queue: str) -> bool:
        message = f"no worker has served {queue} for {self._settings.model_wait_s:g} s"
        failed = self._ledger.fail_unserved(queue, message, UNSERVED_LIMIT)
        log.warning("unserved queue", queue=queue, failed=failed)
        return failed >= UNSERVED_LIMIT


def wait_for_servers(app: Celery, ledger: Ledger, stop: threading.Event) -> None:
    """Return once ledger and broker answer, or `stop` is set.

    Raises SettingsError where one of them could lose what it is given.
    """
    while True:
        try:
            ledger.check()
            check_broker(app)
            return
        except (LedgerUnavailable, BrokerUnavailable) as error:
            log.warning("waiting for a server", error=error.message)
        if stop.wait(SWEEP_S):
            return


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        logs.configure(settings.log_level)
        app, ledger = broker_app(settings), Ledger.connect(settings)
        wait_for_servers(app, ledger, stop)
    except SettingsError as error:
        raise SystemExit(error.message) from None
    Collector(ledger, S3ObjectStore(settings, retry_s=S3_RETRY_S), settings).start(stop)
    Reaper(app, ledger, settings).run(stop)


if __name__ == "__main__":
    main()
