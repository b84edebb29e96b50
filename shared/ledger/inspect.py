"""Whether the ledger's indexes agree with the jobs, files and batches that they stand for."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import redis

from shared.contracts import BatchPlace, JobStatus
from shared.ledger.inspect_batches import batch_errors

PAGE = 500
JOB_FIELDS = (
    "tenant",
    "status",
    "phase",
    "seq",
    "step",
    "queues",
    "published",
    "expires_at",
    "files",
    "lease_until",
    "claim",
    "batch",
)


def index_errors(client: redis.Redis) -> Iterator[str]:
    """A line for a person for every entry of an index that is missing, wrong or without reason.

    The ledger is read in pages: of one at work, what moves between two pages may be named
    although nothing is wrong. Raises redis.RedisError.
    """
    server: Any = client  # the library's types hide what decode_responses gives
    yield from _missing_entries(server)
    for key in ("due", "unsaved", "expires"):
        yield from _stray_entries(server, key, server.zscan_iter(key, count=PAGE))
    for pattern in ("waiting:*", "published:*", "jobs:*"):
        for key in server.scan_iter(pattern, count=PAGE):
            yield from _stray_entries(server, key, server.zscan_iter(key, count=PAGE))
    for pattern in ("file:*:jobs", "batch:*:jobs:*"):
        for key in server.scan_iter(pattern, count=PAGE):
            members = server.sscan_iter(key, count=PAGE)
            yield from _stray_entries(server, key, ((member, 0) for member in members))
    yield from _file_errors(server)
    yield from batch_errors(server)
    yield from _request_errors(server)


def _missing_entries(client: Any) -> Iterator[str]:
    """Jobs that contradict themselves, or do not stand where they should."""
    for keys in _pages(client.scan_iter("job:*", count=PAGE)):
        wanted: list[tuple[str, str, str | None]] = []
        for key, job in zip(keys, _hashes(client, keys, JOB_FIELDS), strict=True):
            if not job:
                continue  # erased since the page was read
            ended, leased = job["phase"] == "ended", job["phase"] == "leased"
            if ended != JobStatus(job["status"]).terminal:
                yield f"{key}: phase {job['phase']}, but status {job['status']}"
            if not leased == ("lease_until" in job) == ("claim" in job):
                yield f"{key}: phase {job['phase']}, lease until {job.get('lease_until')}"
            places = _places(key, job).items()
            wanted += [(index, member, score) for (index, member), score in places]
        with client.pipeline(transaction=False) as pipe:
            for index, member, _ in wanted:
                pipe.sismember(index, member) if _is_set(index) else pipe.zscore(index, member)
            found = pipe.execute()
        for (index, member, score), value in zip(wanted, found, strict=True):
            if value is None or (_is_set(index) and not value):
                yield f"{index}: {member} is missing"
            elif score is not None and value != float(score):
                yield f"{index}: {member} has the score {value:.0f}, not {score}"


def _stray_entries(client: Any, index: str, entries: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Entries of jobs that are gone or should stand elsewhere. `entries`: (member, score)."""
    for page in _pages(entries):
        # `expires` holds whole keys, not only those of jobs; all others hold ids of jobs, but for
        # those of batches among who needs a file.
        others = ("file:", "batch:", "batch_")
        members = [member for member, _ in page if not member.startswith(others)]
        keys = [member if index == "expires" else f"job:{member}" for member in members]
        jobs = _hashes(client, keys, JOB_FIELDS)
        for member, key, job in zip(members, keys, jobs, strict=True):
            if not job or (index != "unsaved" and (index, member) not in _places(key, job)):
                yield f"{index}: {member} is there without reason"


def _places(key: str, job: dict[str, str]) -> dict[tuple[str, str], str | None]:
    """(index, member) that a job must have → the score, None where it may be any."""
    job_id, phase, seq = key.removeprefix("job:"), job["phase"], job["seq"]
    places: dict[tuple[str, str], str | None] = {}
    if "batch" in job:
        place = BatchPlace.model_validate_json(job["batch"])
        places[f"batch:{place.batch_id}:jobs:{place.opening}", job_id] = None
    else:
        places[f"jobs:{job['tenant']}", job_id] = seq
        places[f"jobs:{job['tenant']}:{job['status']}", job_id] = seq
    if phase == "ended":
        return places if "batch" in job else {**places, ("expires", key): job["expires_at"]}
    places["due", job_id] = None
    queue = json.loads(job["queues"])[int(job["step"])]
    if phase == "waiting":
        places[f"waiting:{queue}", job_id] = seq
    elif phase == "published":
        places[f"published:{queue}", job_id] = job["published"]
    return places | {(f"file:{file}:jobs", job_id): None for file in json.loads(job["files"])}


def _file_errors(client: Any) -> Iterator[str]:
    """Files that do not expire when they should; deleted ones that nobody needs."""
    for page in _pages(client.scan_iter("file:*", count=PAGE)):
        keys = [key for key in page if not _is_set(key)]
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.zscore("expires", key)
                pipe.scard(f"{key}:jobs")
            answers = pipe.execute()
        files = _hashes(client, keys, ("deleted", "expires_at"))
        for i, (key, file) in enumerate(zip(keys, files, strict=True)):
            expires_at, needed = answers[2 * i : 2 * i + 2]
            wanted = None if "deleted" in file or not file else float(file["expires_at"])
            if expires_at != wanted:
                yield f"expires: {key} has the score {expires_at}, not {wanted}"
            if "deleted" in file and not needed:
                yield f"{key}: deleted and not needed, but there"
    for page in _pages(client.zscan_iter("expires", match="file:*", count=PAGE)):
        keys = [key for key, _ in page]
        for key, file in zip(keys, _hashes(client, keys, ("expires_at",)), strict=True):
            if not file:
                yield f"expires: {key} is there without reason"


def _request_errors(client: Any) -> Iterator[str]:
    """Idempotency-Keys that stand for a job or batch which is gone or had another."""
    for keys in _pages(client.scan_iter("idempotency:*", count=PAGE)):
        requests = _hashes(client, keys, ("job",))
        ids = [request.get("job", "") for request in requests]
        records = [f"{'batch' if i.startswith('batch_') else 'job'}:{i}" for i in ids]
        found = _hashes(client, records, ("tenant", "idempotency", "erase"))
        for key, subject, record in zip(keys, ids, found, strict=True):
            own = record and f"idempotency:{record['tenant']}:{record['idempotency']}"
            if subject and (own != key or "erase" in record):
                yield f"{key}: {subject} is there without reason"


def _is_set(key: str) -> bool:
    return key.startswith(("file:", "batch:")) and ":jobs" in key


def _hashes(client: Any, keys: list[str], names: tuple[str, ...]) -> list[dict[str, str]]:
    """These fields of each hash, as far as it has them."""
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, names)
        rows = pipe.execute()
    return [{n: v for n, v in zip(names, row, strict=True) if v is not None} for row in rows]


def _pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(items)
    while page := list(islice(remaining, PAGE)):
        yield page
