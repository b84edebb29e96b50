"""What a batch writes over all its items, where JSON lines are not all that it is asked for."""

from importlib.util import find_spec
from typing import Any

from api.batches.all_lines import AllLines
from api.batches.outputs import webdataset
from api.batches.outputs.names import JSON_LINES, PARQUET, WEBDATASET
from api.services import Services
from shared.batches import BatchRecord
from shared.errors import NotFound


def missing(output_format: str) -> str:
    """The library that this server lacks to write the format; empty where it has all."""
    return "pyarrow" if output_format == PARQUET and not find_spec("pyarrow") else ""


def write(services: Services, batch: BatchRecord, lines: AllLines) -> dict[str, Any] | None:
    """What was written: `format`, `items`, `bytes`, `shards` where there are such, or the `error`;
    None where nothing is asked for.

    Raises StorageUnavailable, LedgerUnavailable, DiskFull: to be called again.
    """
    output_format = batch.request.get("output_format", JSON_LINES)
    if output_format == JSON_LINES:
        return None
    try:
        return {"format": output_format, **_written(services, batch, lines, output_format)}
    except NotFound:
        return {"format": output_format, "error": "the output prefix may not be written"}


def _written(
    services: Services, batch: BatchRecord, lines: AllLines, output_format: str
) -> dict[str, Any]:
    if output_format == WEBDATASET:
        return webdataset.write(services, batch, lines)
    from api.batches.outputs import parquet  # needs a library that is large, and may be missing

    return parquet.write(services, batch, lines)
