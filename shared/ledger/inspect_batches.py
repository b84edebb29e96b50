"""Whether what the ledger keeps of its batches agrees with itself."""

import json
from collections.abc import Iterator
from typing import Any

from shared.batches import BatchStatus
from shared.ledger.batch_records import open_chunk

PAGE = 500
CLOSED = BatchStatus.FINALIZING, BatchStatus.VALIDATING


def batch_errors(client: Any) -> Iterator[str]:
    """A line for a person for everything that is missing, wrong or without reason."""
    for key in client.scan_iter("batch:*", count=PAGE):
        _, batch_id, *part = key.split(":")
        if not part:
            yield from _record_errors(client, batch_id)
        elif not client.exists(f"batch:{batch_id}"):
            yield f"{key}: its batch is gone"
        elif part[0] == "jobs" and int(part[1]) not in _openings(client, batch_id):
            yield f"{key}: no chunk is open under this opening"
    for key in client.scan_iter("batches:*", count=PAGE):
        for batch_id, _ in client.zscan_iter(key, count=PAGE):
            if not client.exists(f"batch:{batch_id}"):
                yield f"{key}: {batch_id} is there without reason"
    for key in client.scan_iter("file:*:jobs", count=PAGE):
        for batch_id in client.sscan_iter(key, match="batch_*", count=PAGE):
            if key not in _held(client.hgetall(f"batch:{batch_id}")):
                yield f"{key}: {batch_id} is there without reason"
    for key, _ in client.zscan_iter("expires", match="batch:*", count=PAGE):
        if not client.exists(key):
            yield f"expires: {key} is there without reason"


def _record_errors(client: Any, batch_id: str) -> Iterator[str]:
    with client.pipeline() as pipe:
        pipe.hgetall(f"batch:{batch_id}")
        pipe.zscore("batches:active", batch_id)
        pipe.zscore("expires", f"batch:{batch_id}")
        pipe.hlen(f"batch:{batch_id}:open")
        fields, active, expires_at, opened = pipe.execute()
    if not fields:
        return  # erased since the page was read
    status, key = BatchStatus(fields["status"]), f"batch:{batch_id}"
    wanted = {
        f"batches:{fields['tenant']}": (
            client.zscore(f"batches:{fields['tenant']}", batch_id),
            fields["seq"],
        ),
        "batches:active": (active, None if status.terminal else fields["seq"]),
        "expires": (expires_at, fields["expires_at"] if status.terminal else None),
    }
    for index, (found, score) in wanted.items():
        if found != (score and float(score)):
            yield f"{index}: {key} has the score {found}, not {score}"
    for index in _held(fields):
        if not client.sismember(index, batch_id):
            yield f"{index}: {batch_id} is missing"
    if opened and (status.terminal or status in CLOSED):
        yield f"{key}: {status}, but {opened} chunks are open"


def _held(fields: dict[str, str]) -> list[str]:
    """The sets of who needs a file in which the batch must stand."""
    if not fields or BatchStatus(fields["status"]).terminal:
        return []
    return [f"file:{file}:jobs" for file in json.loads(fields["files"])]


def _openings(client: Any, batch_id: str) -> set[int]:
    entries = client.hvals(f"batch:{batch_id}:open")
    return {open_chunk(entry).opening for entry in entries}
