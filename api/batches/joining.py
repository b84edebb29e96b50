"""From the lines of all chunks to one file of results and one of errors, in the source's order."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

from api.batches import openai_images, outputs
from api.batches.all_lines import AllLines
from api.batches.reuse import write_index
from api.batches.shards import JSON_LINES, parsed, text_of
from api.services import Services
from shared.batches import BatchRecord
from shared.contracts import FileRecord
from shared.file_metadata import object_metadata
from shared.layout import file_folder, joined_key
from shared.s3_streams import BLOCK, in_parts

LARGEST_COPY = 5 * 2**30  # bytes that S3 copies at once

Which = Literal["results", "errors"]


def join(services: Services, batch: BatchRecord) -> BatchRecord:
    """Write the files, and end the batch. An item that never ran is an error.

    Raises StorageUnavailable, LedgerUnavailable, DiskFull; NotFound and Conflict where the batch is
    gone, or goes on.
    """
    results = errors = None
    if batch.chunks is not None:
        lines = AllLines(services, batch)
        results = _file(services, batch, "results", lines.result_texts())
        errors = _file(services, batch, "errors", lines.all_error_texts())
        if told := outputs.write(services, batch, lines):
            services.ledger.note_batch(batch.id, {"outputs": told})
        if batch.request.get("reuse"):
            write_index(services, batch)
    return services.ledger.finished(batch.id, results, errors)


def so_far(services: Services, batch: BatchRecord, which: Which) -> Iterator[bytes]:
    """The lines that are there, in the source's order, while the batch may yet run. Raises
    StorageUnavailable."""
    lines = AllLines(services, batch)
    texts = lines.result_texts() if which == "results" else lines.error_texts()
    return in_parts(_shown(services, batch, texts), BLOCK)


def _file(
    services: Services, batch: BatchRecord, which: Which, texts: Iterable[bytes]
) -> str | None:
    """The id of a file of these lines, which has bytes of its own, so that erasing it costs the
    batch nothing; None where there are none."""
    joined, store = joined_key(batch.id, which), services.store
    file_id = _file_id(batch, which)
    now = int(time.time() * 1000)
    described = FileRecord(
        id=file_id,
        tenant=batch.tenant,
        purpose="batch_output",
        key=file_folder(batch.tenant, file_id) + which,
        bytes=0,
        sha256="",
        media_type=JSON_LINES,
        filename=f"{batch.id}-{which}.jsonl",
        created_at=now,
        expires_at=now + int(services.settings.retention_days * 86_400_000),
    )
    shown, about = _shown(services, batch, texts), object_metadata(described)
    sha256, size = store.put_stream(joined, shown, JSON_LINES, about)
    if not size:
        return None
    if size <= LARGEST_COPY:
        store.copy(joined, described.key)
    else:
        store.put_stream(described.key, store.stream(joined), JSON_LINES)
    services.ledger.put_file(described.model_copy(update={"bytes": size, "sha256": sha256}))
    return file_id


def _file_id(batch: BatchRecord, which: Which) -> str:
    """The same for the same end of the batch: joining twice makes one file."""
    name = f"{batch.id}|{which}|{batch.retries}"
    return f"file_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _shown(services: Services, batch: BatchRecord, texts: Iterable[bytes]) -> Iterable[bytes]:
    """JSON lines as the endpoint that the batch is about has them."""
    if batch.request.get("endpoint") != openai_images.ENDPOINT:
        return texts
    lines = chain.from_iterable(map(parsed, texts))
    return (text_of([openai_images.result_line(services.store, batch, line)]) for line in lines)
