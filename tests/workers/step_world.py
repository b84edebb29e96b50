"""One worker's steps: a real batcher, and the twins of the ledger and the store."""

import hashlib
import io
import threading
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from shared.contracts import FileRecord, NewJob, Priority, Step, new_id
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from shared.testing.object_store import MemoryObjectStore
from workers.batcher import MicroBatcher
from workers.leases import LeaseKeeper
from workers.step_task import StepRunner

STEPS = {
    "translate": "translate",
    "caption": "caption",
    "generate": "diffuse",
    "composite": "composite",
    "panorama_training": "train",
}


class World:
    """One worker and what it works with."""

    def __init__(
        self, batcher: MicroBatcher, beside: "World | None" = None, **settings: Any
    ) -> None:
        """`beside` another worker it shares that one's ledger and store."""
        self.settings = Settings(lease_s=1.5, max_attempts=2, **settings)
        self.ledger = beside.ledger if beside else MemoryLedger(self.settings)
        self.store = beside.store if beside else MemoryObjectStore()
        self.keeper = LeaseKeeper(self.ledger, self.settings)
        self.stopping = threading.Event()
        self.let_in: list[str] = []  # the queues that others were let into
        self.runner = StepRunner(
            "w",
            self.settings,
            self.ledger,
            self.store,
            batcher,
            self.keeper,
            self.let_in.append,
            self.stopping,
        )

    def close(self) -> None:
        self.stopping.set()
        self.keeper.close()

    def submit(
        self,
        kind: str = "translate",
        family: str = "translator",
        params: dict[str, Any] | None = None,
        deadline_s: float | None = None,
        files: tuple[str, ...] = (),
        **given: Any,
    ) -> str:
        """A published job of one step."""
        step = Step(
            name=STEPS[kind],
            family=family,
            model="m",
            params=params or {},
            batch_class=2,
        )
        job = NewJob(
            id=new_id("job"),
            tenant="t",
            kind=kind,
            priority=Priority.INTERACTIVE,
            input=given or {"text": "hello"},
            steps=(step,),
            files=files,
            deadline_s=deadline_s,
            retention_s=1000,
        )
        self.ledger.submit(job)
        self.ledger.admit(step.queue(job.priority))
        return job.id

    def upload(self, data: bytes) -> str:
        """A file of these bytes."""
        file_id = new_id("file")
        self.store.put(f"files/{file_id}", data, "image/png")
        self.ledger.put_file(
            FileRecord(
                id=file_id,
                tenant="t",
                purpose="image",
                key=f"files/{file_id}",
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                media_type="image/png",
                created_at=0,
                expires_at=10**12,
            )
        )
        return file_id

    def start(self, job_id: str) -> threading.Thread:
        """Run the step in a thread, until the model is at work."""
        thread = self._thread(job_id)
        until(lambda: self.ledger.get(job_id).progress > 0)
        return thread

    def start_without_storage(self, job_id: str) -> threading.Thread:
        """Run the step in a thread, until it waits for storage."""
        self.store.down = True
        thread = self._thread(job_id)
        until(lambda: self.ledger.get(job_id).progress_message == "waiting for storage")
        return thread

    def _thread(self, job_id: str) -> threading.Thread:
        thread = threading.Thread(target=self.runner.run, args=(job_id, 0), daemon=True)
        thread.start()
        return thread


def until(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def png(size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()
