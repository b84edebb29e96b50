"""What the files over all items are called, below the place of the batch's outputs."""

import re
from collections.abc import Mapping
from typing import Any

from shared.batches import BatchRecord
from shared.errors import NotFound

JSON_LINES, PARQUET, WEBDATASET = "jsonl", "parquet", "webdataset"
TABLE = "results.parquet"
SHARD = re.compile(r"shards/[0-9]{6,}\.tar")


def shard(number: int) -> str:
    return f"shards/{number:06}.tar"


def all_of(told: Mapping[str, Any]) -> str:
    """The name of what was `told` to be written; of shards the pattern that shells and
    WebDataset's readers know. Empty where there is nothing."""
    if "error" in told:
        return ""
    if told["format"] == PARQUET:
        return TABLE
    return f"shards/{{000000..{told['shards'] - 1:06}}}.tar" if told["shards"] else ""


def media_type(batch: BatchRecord, name: str) -> str:
    """Raises NotFound where the batch has no file of this name."""
    output_format = batch.request.get("output_format", JSON_LINES)
    if output_format == PARQUET and name == TABLE:
        return "application/vnd.apache.parquet"
    if output_format == WEBDATASET and SHARD.fullmatch(name):
        return "application/x-tar"
    raise NotFound(f"no such output: {name}")
