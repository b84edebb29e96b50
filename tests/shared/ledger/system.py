"""A ledger, a broker and a bucket on real servers, and the commands that look after them."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import redis
from botocore.exceptions import ClientError

from shared.contracts import CHUNK, Artifact, BatchPlace, FileRecord, JobRecord, StepOutput
from shared.file_metadata import object_metadata
from shared.item_jobs import chunk_job_id
from shared.layout import batch_manifest_key, chunk_key, errors_key, results_key
from shared.ledger import Ledger
from shared.ledger.verify import LATE_MS, Verifier
from shared.manifest import save
from shared.object_store import S3ObjectStore
from shared.queues import admit, broker_app
from shared.settings import Settings
from tests.shared.ledger.world import new_batch, new_file, new_job
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]
BUCKET = "ledger-tests"
RETENTION_MS = 3_600_000
HOWEVER_YOUNG = -LATE_MS / 1000  # an `orphan_s` with which verify tells every orphan


class System:
    """Everything is empty at first. Jobs are of tenant `t`, workers are played."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.model_copy(update={"s3_bucket": BUCKET})
        self.ledger = Ledger.connect(self.settings)
        self.client = redis.Redis.from_url(settings.ledger_url, decode_responses=True)
        self.broker = redis.Redis.from_url(settings.broker_url, decode_responses=True)
        self.app = broker_app(self.settings)
        self.store = S3ObjectStore(self.settings, retry_s=5)
        with contextlib.suppress(ClientError):  # it is there
            self.store._client().create_bucket(Bucket=BUCKET)
        self.store.delete(entry.key for entry in self.store.list(""))
        self.lose_redis()

    def lose_redis(self) -> None:
        self.client.flushdb()
        self.broker.flushdb()

    def close(self) -> None:
        self.client.close()
        self.broker.close()

    # What the service does

    def upload(self, file_id: str = "file_1", data: bytes = b"picture") -> FileRecord:
        now = int(time.time() * 1000)
        record = new_file(
            file_id,
            key=f"files/t/{file_id}/0a1b2c",
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            created_at=now,
            expires_at=now + RETENTION_MS,
        )
        self.store.put(record.key, data, record.media_type, object_metadata(record))
        return self.ledger.put_file(record)

    def submit(self, *families: str, **fields: object) -> str:
        idempotency = fields.pop("idempotency", None)
        return self.ledger.submit(new_job(*families, **fields), idempotency).job_id

    def publish(self, *families: str, **fields: object) -> str:
        job_id = self.submit(*families, **fields)
        assert admit(self.app, self.ledger, [self.queue(job_id)])
        return job_id

    def queue(self, job_id: str) -> str:
        job = self.ledger.get(job_id)
        return job.steps[job.current].step.queue(job.priority)

    def claim(self, job_id: str) -> int:
        """The fence of the current step's new lease."""
        job = self.ledger.get(job_id)
        claim = self.ledger.claim(job_id, job.current, "worker-1", f"token of {job.fence}")
        assert claim.state == "ok"
        return claim.fence

    def produce(self, job_id: str, fence: int, data: bytes = b"result") -> StepOutput:
        """Store what a step made under this fence, not yet committed."""
        job = self.ledger.get(job_id)
        key = f"jobs/{job_id}/{job.current}-{job.steps[job.current].step.name}/a{fence}/image.png"
        self.store.put(key, data, "image/png", {"job-id": job_id})
        artifact = Artifact(
            name="image.png",
            key=key,
            media_type="image/png",
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
        return StepOutput(outputs={"n": fence}, artifacts=(artifact,), revision="r1")

    def work(self, job_id: str) -> JobRecord:
        """Take the current step to its end."""
        fence, current = self.claim(job_id), self.ledger.get(job_id).current
        self.ledger.commit(job_id, current, fence, self.produce(job_id, fence))
        return self.ledger.get(job_id)

    def finish(self, *families: str, **fields: object) -> str:
        job_id = self.publish(*families, **fields)
        while not self.work(job_id).status.terminal:
            pass
        return job_id

    def batch(self, *closed: list[str], chunks: int = 4, **fields: object) -> str:
        """Full chunks: the first ones closed, with items that failed with these codes, the next
        one open, with a job."""
        batch_id = self.ledger.create_batch(new_batch(**fields)).job_id
        for chunk in range(chunks):
            self.store.put(chunk_key(batch_id, chunk), b"{}\n", "application/jsonl")
        self.ledger.indexed(batch_id, chunks, CHUNK * chunks, 1_000)
        for codes in closed:
            self.close_next(batch_id, codes)
        self.open_next(batch_id)
        self.save_batch(batch_id)
        return batch_id

    def open_next(self, batch_id: str) -> tuple[int, int]:
        opened = self.ledger.open_chunk(batch_id, 8)
        assert opened is not None
        chunk, opening = opened[0], opened[1].opening
        place = BatchPlace(batch_id=batch_id, chunk=chunk, opening=opening)
        job_id = self.submit("captioner", id=chunk_job_id(place, 0), batch=place)
        self.ledger.chunk_jobs(batch_id, chunk, opening, [job_id])
        return chunk, opening

    def close_next(self, batch_id: str, codes: list[str]) -> int:
        chunk, opening = self.open_next(batch_id)
        lines = b"".join(b'{"error": {"code": "%s"}}\n' % code.encode() for code in codes)
        if codes:
            self.store.put(errors_key(batch_id, chunk, opening), lines, "application/jsonl")
        self.store.put(results_key(batch_id, chunk, opening), b"", "application/jsonl")
        numbers = CHUNK - len(codes), len(codes), Counter(codes)
        assert self.ledger.close_chunk(batch_id, chunk, opening, *numbers)
        return chunk

    def save_batch(self, batch_id: str) -> None:
        """Write the batch's manifest."""
        text = self.ledger.batch(batch_id).model_dump_json()
        self.store.put(batch_manifest_key(batch_id), text.encode(), "application/json")

    def save_all(self) -> None:
        """Write every manifest that is behind."""
        for job_id in self.ledger.unsaved(0):
            save(self.ledger, self.store, job_id)

    # The commands

    def inconsistencies(self, orphan_s: float = 7200, digests: bool = False) -> Iterator[str]:
        verifier = Verifier(self.client, self.broker, self.store, orphan_s, digests)
        return verifier.inconsistencies()

    def command(self, *arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
        """`python -m shared.ledger …` with these settings."""
        given = self.settings.model_copy(update=settings)
        names = ("ledger_url", "broker_url", "s3_endpoint", "s3_bucket", "s3_access_key")
        env = {f"IMAGEMILL_{n.upper()}": str(getattr(given, n)) for n in (*names, "s3_secret_key")}
        return subprocess.run(
            [sys.executable, "-m", "shared.ledger", *arguments],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
