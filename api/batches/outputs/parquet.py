"""What became of a batch's items as a Parquet table: a row an item, in the order of the source.

Columns: `custom_id`, `status`, `kind`, `error_code` and `error_message`, `images` (of struct), and
one for every other output that occurs. Outputs that are no plain values are JSON.
"""

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json

from api.batches.all_lines import AllLines
from api.batches.disk import told_when_full
from api.batches.outputs import names
from api.batches.outputs.names import TABLE
from api.batches.shards import Line
from api.services import Services
from shared.batches import BatchRecord
from shared.layout import output_place, picture_place
from shared.s3_streams import BLOCK

ROWS = 10_000  # of a row group, which is in memory as a whole
IMAGE = pa.struct(
    [
        ("name", pa.string()),
        ("key", pa.string()),  # s3://bucket/key
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seed", pa.int64()),
    ]
)
FIXED = {
    "custom_id": pa.string(),
    "status": pa.string(),
    "kind": pa.string(),
    "error_code": pa.string(),
    "error_message": pa.string(),
    "images": pa.list_(IMAGE),
}
NO_COLUMNS = {*FIXED, "artifacts"}


def write(services: Services, batch: BatchRecord, lines: AllLines) -> dict[str, Any]:
    """→ `items` and `bytes`, how many. Raises NotFound where the output may not be written,
    StorageUnavailable, DiskFull."""
    with told_when_full(), tempfile.TemporaryFile() as file:
        items = _Table(services, batch, lines).write(file)
        file.seek(0)
        blocks = iter(partial(file.read, BLOCK), b"")
        bucket, key = output_place(batch, TABLE)
        media_type = names.media_type(batch, TABLE)
        _, size = services.store.put_stream(key, blocks, media_type, bucket=bucket)
    return {"items": items, "bytes": size}


class _Table:
    def __init__(self, services: Services, batch: BatchRecord, lines: AllLines) -> None:
        self._bucket = services.settings.s3_bucket
        self._batch = batch
        self._lines = lines

    def write(self, file: IO[bytes]) -> int:
        """The number of rows."""
        columns = self._columns()
        schema = pa.schema({**FIXED, **columns})
        rows, count = (self._row(line, columns) for line in self._lines.all()), 0
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while some := list(islice(rows, ROWS)):
                writer.write_table(pa.Table.from_pylist(some, schema))
                count += len(some)
        return count

    def _columns(self) -> dict[str, pa.DataType]:
        """What the results have besides: the lines must be read once more for it."""
        found: dict[str, set[type]] = {}
        for line in self._lines.results():
            for name, value in _outputs(line).items():
                found.setdefault(name, set()).add(type(value))
        return {name: _column(types) for name, types in sorted(found.items())}

    def _row(self, line: Line, columns: Mapping[str, pa.DataType]) -> dict[str, Any]:
        error = line["error"] or {"code": None, "message": None}
        job = _job(line)
        outputs = _outputs(line)
        return {
            "custom_id": line["custom_id"],
            "status": job["status"] if job else "failed",
            "kind": job["kind"] if job else None,
            "error_code": error["code"],
            "error_message": error["message"],
            "images": list(self._images(line)),
            **{name: _value(outputs.get(name), kind) for name, kind in columns.items()},
        }

    def _images(self, line: Line) -> Iterator[dict[str, Any]]:
        job = _job(line)
        for image in job["outputs"]["images"] if job and not line["error"] else ():
            bucket, key = picture_place(self._batch, line["custom_id"], image["name"])
            place = f"s3://{bucket or self._bucket}/{key}"
            yield {field.name: image.get(field.name) for field in IMAGE} | {"key": place}


def _job(line: Line) -> Mapping[str, Any] | None:
    return line["response"]["body"] if line["response"] else None


def _outputs(line: Line) -> dict[str, Any]:
    """Those that have a column of their own, and a value."""
    job = _job(line)
    listed = job["outputs"].items() if job else ()
    return {name: value for name, value in listed if value is not None and name not in NO_COLUMNS}


def _column(types: set[type]) -> pa.DataType:
    if types == {bool}:
        return pa.bool_()
    if types == {int}:
        return pa.int64()
    return pa.float64() if types <= {int, float} else pa.string()


def _value(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, str) or kind != pa.string():
        return value
    return to_json(value).decode()
