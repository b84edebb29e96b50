"""Batches: `client.batches`."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from imagemill.batch_records import Batch, BatchLine, BatchPage
from imagemill.errors import BatchFailed, ServiceUnavailable
from imagemill.records import File
from imagemill.resources import file_path, segment
from imagemill.saving import replacing, save
from imagemill.transport import Transport
from imagemill.waiting import until_done

Which = Literal["results", "errors"]


class Batches:
    """Many jobs asked for at once: creating, following, steering and reading them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        input_file_id: str | None = None,
        endpoint: str | None = None,
        source: Mapping[str, Any] | None = None,
        job: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Batch:
        """Creates a batch over a file of request lines (`input_file_id`, `endpoint`), or of one
        `job` for every item of a `source`, where `$image` and such stand for what the item has.

        `options` are further fields of the request: completion_window, metadata, output, reuse,
        paused, start_at, window, timezone. Two calls with the same `idempotency_key` give one
        batch. Raises ApiError, ServiceUnavailable.
        """
        named = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "source": source,
            "job": job,
        }
        body = {name: value for name, value in {**named, **options}.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return Batch.of(self._transport.json("POST", "/v1/batches", body=body, headers=headers))

    def get(self, batch: Batch | str) -> Batch:
        """The batch as it is now."""
        return Batch.of(self._transport.json("GET", batch_path(batch)))

    def list(self, *, limit: int | None = None, after: str | None = None) -> BatchPage:
        """One page of batches, newest first; `after` is the `next` of the page before."""
        params = {"limit": limit, "after": after}
        answer = self._transport.json("GET", "/v1/batches", params=params)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise ServiceUnavailable("the answer holds no list of batches")
        batches = [Batch.of(batch) for batch in answer["data"]]
        return BatchPage(batches, bool(answer.get("has_more")), answer.get("last_id"))

    def iterate(self) -> Iterator[Batch]:
        """All batches, page by page as they are asked for."""
        after = None
        while True:
            page = self.list(after=after)
            yield from page.data
            if not page.has_more or page.next is None:
                return
            after = page.next

    def pause(self, batch: Batch | str) -> Batch:
        """Starts no more items; those that run go on to their end."""
        return self._steer(batch, "pause")

    def resume(self, batch: Batch | str) -> Batch:
        """Lets a paused batch go on."""
        return self._steer(batch, "resume")

    def cancel(self, batch: Batch | str) -> Batch:
        """Ends a batch; what its items have made is kept."""
        return self._steer(batch, "cancel")

    def retry(self, batch: Batch | str) -> Batch:
        """Does the failed items of an ended batch again, and those that were never started."""
        return self._steer(batch, "retry")

    def delete(self, batch: Batch | str) -> None:
        """Ends a batch and erases it; its two files stay."""
        self._transport.json("DELETE", batch_path(batch))

    def forecast(self, batch: Batch | str) -> dict[str, Any]:
        """How long what is left of it will take, and how that is known."""
        answer = self._transport.json("GET", f"{batch_path(batch)}/forecast")
        if not isinstance(answer, dict):
            raise ServiceUnavailable("the answer holds no forecast")
        return answer

    def wait(
        self,
        batch: Batch | str,
        on_progress: Callable[[Batch], object] | None = None,
        timeout: float | None = None,
        patience: float = 0.0,
    ) -> Batch:
        """The batch once it has ended, be it with failed items, cancelled or expired.

        `on_progress` is called with the batch at first and whenever it has changed; `patience` (s)
        is how long the service may be away meanwhile. Raises BatchFailed where its source was of
        no use, and WaitTimeout after `timeout` seconds.
        """
        ended = until_done(lambda: self.get(batch), on_progress, timeout, patience)
        if ended.status == "failed":
            raise BatchFailed(ended)
        return ended

    def results(self, batch: Batch | str) -> Iterator[BatchLine]:
        """The good items so far, in input order; never all of them in memory."""
        return self._lines(batch, "results")

    def errors(self, batch: Batch | str) -> Iterator[BatchLine]:
        """The failed items so far, in input order; never all of them in memory."""
        return self._lines(batch, "errors")

    def save(self, batch: Batch, which: Which, path: Path) -> None:
        """Downloads the lines of `results` or `errors`. Those of an ended batch are checked, and
        not fetched where they lie there already. Raises IntegrityError."""
        address = f"{batch_path(batch)}/{which}"
        file_id = batch.output_file_id if which == "results" else batch.error_file_id
        if batch.done and file_id:
            recorded = File.of(self._transport.json("GET", file_path(file_id)))
            save(self._transport, address, path, recorded.sha256, f"{which} of {batch.id}")
            return
        with replacing(path) as file:
            self._transport.fetch(address, file)

    def report(self, batch: Batch | str, path: str | Path) -> None:
        """Saves the report on a batch, one HTML page."""
        with replacing(Path(path)) as file:
            self._transport.fetch(f"{batch_path(batch)}/report", file)

    def _steer(self, batch: Batch | str, action: str) -> Batch:
        return Batch.of(self._transport.json("POST", f"{batch_path(batch)}/{action}"))

    def _lines(self, batch: Batch | str, which: Which) -> Iterator[BatchLine]:
        # By way of a file, so that a lost connection is no matter, however slowly they are read.
        with tempfile.TemporaryFile() as file:
            self._transport.fetch(f"{batch_path(batch)}/{which}", file)
            file.seek(0)
            for line in file:
                yield BatchLine.of(json.loads(line))


def batch_path(batch: Batch | str) -> str:
    """Where a batch is found."""
    return f"/v1/batches/{segment(batch if isinstance(batch, str) else batch.id)}"
