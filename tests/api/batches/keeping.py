"""Batches over the in-memory twins, with the workers played."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from api.batches.chunks import Chunks, Pace
from api.batches.joining import join
from api.services import TENANT, Services
from shared.batches import BatchRecord, NewBatch
from shared.contracts import CHUNK, Artifact, ItemOutput, JobError, JobRecord, StepOutput, new_id
from shared.errors import ImagemillError, InvalidImage, ModelProcessDied
from shared.layout import chunk_key

CAPTION = {"kind": "caption", "input": {"image": "$image"}}
FOLDER = "s3://photos/in/"  # an allowed one


class KeptBatches:
    """Makes batches whose index lies in S3, runs their jobs, and reads what came of them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.ledger = services.ledger
        self.store = services.store

    def record(self, request: dict[str, Any]) -> str:
        """A batch that is to be indexed."""
        new = NewBatch(
            id=new_id("batch"),
            tenant=TENANT,
            request=request,
            base_url="http://localhost/",
            retention_s=86_400,
        )
        return self.ledger.create_batch(new).job_id

    def create(self, lines: Sequence[dict[str, Any]], **request: Any) -> str:
        """A batch in progress; `lines` as indexing writes them, but for their numbers."""
        batch_id = self.record(request if "endpoint" in request else {"job": CAPTION, **request})
        chunks = range(0, len(lines), CHUNK)
        for chunk, start in enumerate(chunks):
            some = enumerate(lines[start : start + CHUNK], start)
            text = "".join(json.dumps({"number": n, **line}) + "\n" for n, line in some)
            self.store.put(chunk_key(batch_id, chunk), text.encode(), "application/jsonl")
        self.ledger.indexed(batch_id, len(chunks), len(lines), 0)
        return batch_id

    def pictures(self, count: int) -> list[dict[str, Any]]:
        """Lines of as many pictures, `0.png` and so on."""
        return [
            {"custom_id": f"{n}.png", "variables": {"image": f"{FOLDER}{n}.png"}}
            for n in range(count)
        ]

    def advance(self, batch_id: str) -> None:
        """What the keeper does for the batch in one turn."""
        Chunks(self.services).advance(self.ledger.batch(batch_id), Pace())

    def finish(self, batch_id: str, **fates: Collection[str]) -> BatchRecord:
        """Bring the batch to its end; `fates` as `run` takes them."""
        self.advance(batch_id)
        while self.ledger.batch(batch_id).open:
            for job_id in self.jobs(batch_id):
                self.run(job_id, **fates)
            self.advance(batch_id)
        return join(self.services, self.ledger.batch(batch_id))

    def jobs(self, batch_id: str) -> list[str]:
        """The jobs of its open chunks."""
        opened = self.ledger.batch(batch_id).open.values()
        return [job_id for chunk in opened for job_id in chunk.jobs or ()]

    def run(
        self,
        job_id: str,
        bad: Collection[str] = (),
        deadly: Collection[str] = (),
        drawn: Collection[str] = (),
    ) -> None:
        """Play the worker of the job's only step, unless it has ended.

        Items fail whose picture, text or prompt is `bad`; a `deadly` one kills the model process;
        one to be `drawn` leaves a picture, of the prompt's bytes.
        """
        job = self.ledger.get(job_id)
        if job.status.terminal:
            return
        fence = self.ledger.claim(job_id, 0, "w1", "token").fence
        if any(_about(given) in deadly for _, given in items_of(job)):
            self._fail(job_id, fence, ModelProcessDied("the model process was killed"))
            return
        made = tuple(self._made(job, n, given, bad, drawn) for n, given in items_of(job))
        if job.items:
            output = StepOutput(items=made, revision="r1", run_ms=5)
        elif made[0].error:
            self._fail(job_id, fence, InvalidImage(made[0].error.message))
            return
        else:
            own = {"outputs": made[0].outputs, "artifacts": made[0].artifacts}
            output = StepOutput(**own, revision="r1", run_ms=made[0].run_ms)
        self.ledger.commit(job_id, 0, fence, output)

    def _fail(self, job_id: str, fence: int, error: ImagemillError) -> None:
        error.retryable = False  # as after its last attempt
        self.ledger.fail(job_id, 0, fence, error)

    def _made(
        self,
        job: JobRecord,
        number: int,
        given: dict[str, Any],
        bad: Collection[str],
        drawn: Collection[str],
    ) -> ItemOutput:
        about = _about(given)
        if about in bad:
            error = JobError(code="invalid_image", message=f"{about}: not an image")
            return ItemOutput(number=number, error=error)
        artifacts = ()
        if about in drawn:
            name, media_type = "image-0.png", "image/png"
            key = f"jobs/{job.id}/{number}/{name}"
            self.store.put(key, about.encode(), media_type)
            digest = hashlib.sha256(about.encode()).hexdigest()
            facts = {"sha256": digest, "bytes": len(about), "width": 64, "height": 64, "seed": 7}
            artifacts = (Artifact(name=name, key=key, media_type=media_type, **facts),)
        outputs = {"caption": f"of {about}"}
        return ItemOutput(number=number, outputs=outputs, artifacts=artifacts, run_ms=number)

    def lines(self, batch: BatchRecord) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The lines of its results and of its errors."""
        results, errors = (
            [
                json.loads(line)
                for line in self.store.get(self.ledger.file_key(file)[0]).splitlines()
            ]
            if file
            else []
            for file in (batch.output_file_id, batch.error_file_id)
        )
        return results, errors


def items_of(job: JobRecord) -> Iterator[tuple[int, dict[str, Any]]]:
    """The inputs of a job's items by their numbers."""
    if job.items:
        yield from ((item.number, item.input) for item in job.items)
    else:
        assert job.batch is not None
        assert job.batch.number is not None
        yield job.batch.number, job.input


def _about(given: dict[str, Any]) -> str:
    return given.get("image") or given.get("text") or given.get("prompt") or ""
