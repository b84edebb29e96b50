"""`python -m shared.ledger`: check what the ledger says, or build it again from S3.

python -m shared.ledger verify
python -m shared.ledger verify --digests
python -m shared.ledger rebuild --dry-run

Exit status: 0, or 1 where something is wrong or could not be read, 2 for wrong settings, 3 where
a server does not answer.
"""

import argparse
import sys

import redis

from shared.errors import ImagemillError, SettingsError
from shared.ledger import Ledger
from shared.ledger.rebuild import Rebuilder
from shared.ledger.verify import Verifier
from shared.object_store import S3ObjectStore
from shared.queues import broker_app, ping
from shared.settings import Settings, load_settings


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m shared.ledger")
    commands = top.add_subparsers(dest="command", required=True)
    verify = commands.add_parser(
        "verify", help="print where ledger, broker and S3 disagree; changes nothing"
    )
    verify.add_argument("--digests", action="store_true", help="read and hash every object")
    rebuild = commands.add_parser("rebuild", help="restore jobs, files and batches from S3")
    rebuild.add_argument("--dry-run", action="store_true", help="only say what would be restored")
    return top


def verify(settings: Settings, digests: bool) -> int:
    """Print every inconsistency and a summary; the exit status."""
    store = _reach(settings)
    ping(broker_app(settings))
    verifier = Verifier(
        _client(settings.ledger_url),
        _client(settings.broker_url),
        store,
        settings.orphan_s,
        digests,
    )
    count = 0
    for line in verifier.inconsistencies():
        print(line, flush=True)
        count += 1
    result = f"{count or 'no'} inconsistencies" if count != 1 else "1 inconsistency"
    print(
        f"{verifier.jobs} jobs, {verifier.files} files, {verifier.batches} batches, "
        f"{verifier.objects} objects: {result}"
    )
    return 1 if count else 0


def rebuild(settings: Settings, dry_run: bool) -> int:
    """Restore what is missing and say how much it was; the exit status."""
    store = _reach(settings)
    retention_ms = int(settings.retention_days * 86_400_000)
    rebuilder = Rebuilder(Ledger.connect(settings), store, retention_ms, dry_run)
    rebuilder.run()
    for key in rebuilder.unreadable:
        print(f"cannot read {key}")
    print(
        f"{'would restore' if dry_run else 'restored'} {rebuilder.finished} finished jobs, "
        f"{'queue' if dry_run else 'queued'} {rebuilder.queued} again, {rebuilder.files} files, "
        f"{rebuilder.batches} batches; "
        f"{len(rebuilder.unreadable)} could not be read"
    )
    return 1 if rebuilder.unreadable else 0


def _reach(settings: Settings) -> S3ObjectStore:
    """The object store, when it and the ledger answer. Raises ImagemillError."""
    Ledger.connect(settings).ping()
    store = S3ObjectStore(settings)
    store.check()
    return store


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=30, socket_connect_timeout=2
    )


def main() -> int:
    top = parser()
    arguments = top.parse_args()
    try:
        settings = load_settings()
        if arguments.command == "verify":
            return verify(settings, arguments.digests)
        return rebuild(settings, arguments.dry_run)
    except SettingsError as error:
        status, message = 2, error.message
    except ImagemillError as error:
        status, message = 3, error.message
    except redis.RedisError as error:
        status, message = 3, f"a Redis server does not answer: {error}"
    print(f"{top.prog}: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
