"""One worker's steps: a real batcher, and the twins of the ledger and the store."""

import hashlib
import io
import threading
from collections.abc import Sequence
from typing import Any

from PIL import Image

from shared.batches import NewBatch
from shared.contracts import BatchPlace, FileRecord, Item, NewJob, Priority, Step, new_id
from shared.item_jobs import chunk_job_id
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from shared.testing.object_store import MemoryObjectStore
from tests.waiting import until
from workers.batcher import MicroBatcher
from workers.item_pool import ItemPool
from workers.leases import LeaseKeeper
from workers.step_task import StepRunner

STEPS = {
    "translate": "translate",
    "caption": "caption",
    "generate": "diffuse",
    "composite": "composite",
    "panorama_training": "train",
}
THREADS = 6  # of a worker, for the items of chunks


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
        self.items = ItemPool(THREADS)
        self.runner = StepRunner(
            "w",
            self.settings,
            self.ledger,
            self.store,
            batcher,
            self.keeper,
            self.let_in.append,
            self.items,
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
        priority: Priority = Priority.INTERACTIVE,
        **given: Any,
    ) -> str:
        """A published job of one step."""
        step = planned(STEPS[kind], family, params)
        job = NewJob(
            id=new_id("job"),
            tenant="t",
            kind=kind,
            priority=priority,
            input=given or {"text": "hello"},
            steps=(step,),
            files=files,
            deadline_s=deadline_s,
            retention_s=1000,
        )
        self.ledger.submit(job)
        self.ledger.admit(step.queue(job.priority))
        return job.id

    def submit_chunk(self, kind: str, inputs: Sequence[dict[str, Any]], *steps: Step) -> str:
        """The published job of a batch's only chunk, whose items have these inputs."""
        batch = NewBatch(
            id=new_id("batch"),
            tenant="t",
            request={},
            metadata={},
            base_url="",
            retention_s=1000,
            completion_window_s=None,
        )
        self.ledger.create_batch(batch)
        self.ledger.indexed(batch.id, 1, len(inputs), 0)
        opened = self.ledger.open_chunk(batch.id, 1)
        assert opened
        place = BatchPlace(batch_id=batch.id, chunk=opened[0], opening=opened[1].opening)
        job = NewJob(
            id=chunk_job_id(place, 0),
            tenant="t",
            kind=kind,
            priority=Priority.BULK,
            input={},
            steps=steps,
            batch=place,
            items=tuple(
                Item(number=number, custom_id=f"item {number}", input=given)
                for number, given in enumerate(inputs)
            ),
            retention_s=1000,
        )
        self.ledger.submit(job)
        self.ledger.admit(steps[0].queue(job.priority))
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


def planned(name: str, family: str, params: dict[str, Any] | None = None) -> Step:
    return Step(name=name, family=family, model="m", params=params or {}, batch_class=2)


def png(size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()
