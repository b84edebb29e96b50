"""The reaper: finds what is overdue in the ledger and sets it going again.

`python -m shared.reaper` runs one; any number may run at once, since every change is one of the
ledger's atomic scripts.
"""

import signal
import threading
import time

from celery import Celery

from shared import logs
from shared.errors import ImagemillError, SettingsError
from shared.ledger import Ledger
from shared.manifest import settle
from shared.object_store import ObjectStore, S3ObjectStore
from shared.queues import BrokerUnavailable, admit, broker_app, idle_queues, publish_all
from shared.settings import Settings, load_settings

SWEEP_S = 1.0
SETTLE_AFTER_S = 5.0  # the worker that ended a job writes its manifest first

log = logs.get(__name__)


class Reaper:
    """One reaper; `sweep` does a bounded amount of work."""

    def __init__(self, app: Celery, ledger: Ledger, store: ObjectStore, settings: Settings) -> None:
        self._app = app
        self._ledger = ledger
        self._store = store
        self._settings = settings
        self._unserved_since: dict[str, float] = {}

    def sweep(self) -> None:
        """Look once. Raises LedgerUnavailable, StorageUnavailable, BrokerUnavailable."""
        self._republish()
        busy = [queue for queue, unclaimed in self._ledger.queues().items() if unclaimed]
        admit(self._app, self._ledger, busy)
        self._fail_unserved(busy)
        for job_id in self._ledger.ended(SETTLE_AFTER_S):
            settle(self._ledger, self._store, job_id)
        for key in self._ledger.garbage():
            prefix = key.endswith("/")
            self._store.delete([o.key for o in self._store.list(key)] if prefix else [key])
            self._ledger.erased(key)

    def _republish(self) -> None:
        # Without the broker's word on which queues are empty, only leases and deadlines are
        # dealt with; lost messages are found when it answers again.
        try:
            idle = list(idle_queues(self._app, self._ledger.queues()))
        except BrokerUnavailable as error:
            log.warning("broker unavailable", error=error.message)
            idle = []
        publish_all(self._app, self._ledger.reap(idle))

    def _fail_unserved(self, busy: list[str]) -> None:
        served = {queue for worker in self._ledger.workers() for queue in worker.queues}
        now = time.monotonic()
        self._unserved_since = {
            queue: self._unserved_since.get(queue, now) for queue in busy if queue not in served
        }
        wait_s = self._settings.model_wait_s
        for queue, since in self._unserved_since.items():
            if now - since >= wait_s:
                message = f"no worker has served {queue} for {wait_s:g} s"
                failed = self._ledger.fail_unserved(queue, message)
                log.warning("unserved queue", queue=queue, failed=failed)

    def run(self, stop: threading.Event) -> None:
        """Sweep until `stop` is set; a dependency that is away is waited for."""
        while not stop.wait(SWEEP_S):
            try:
                self.sweep()
            except ImagemillError as error:
                log.warning("sweep failed", code=error.code, error=error.message)
            except Exception:  # one bad record must not keep all others from being looked after
                log.exception("sweep failed")


def main() -> None:
    try:
        settings = load_settings()
    except SettingsError as error:
        raise SystemExit(error.message) from None
    logs.configure(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ledger = Ledger.connect(settings)
    # Sweeps must go on while S3 is away: what waits for it is tried again at the next one.
    store = S3ObjectStore(settings, retry_s=1.0)
    Reaper(broker_app(settings), ledger, store, settings).run(stop)


if __name__ == "__main__":
    main()
