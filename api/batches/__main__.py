"""`python -m api.batches`: a keeper, which brings batches from their source to their results."""

import signal
import threading

from api.batches.keeper import Keeper
from api.services import connect
from shared import logs
from shared.errors import SettingsError
from shared.object_store import S3ObjectStore
from shared.settings import load_settings

S3_RETRY_S = 1.0  # a turn had rather end: what waits for S3 is tried again in the next


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        logs.configure(settings.log_level)
        services = connect(settings, store=S3ObjectStore(settings, retry_s=S3_RETRY_S))
    except SettingsError as error:
        raise SystemExit(error.message) from None
    Keeper(services).run(stop)


if __name__ == "__main__":
    main()
