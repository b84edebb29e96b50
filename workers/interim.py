"""What a step leaves in S3 while it runs: a preview to look at, savepoints to go on from."""

from shared import logs
from shared.contracts import JobRecord
from shared.errors import StorageUnavailable
from shared.layout import PREVIEW, attempt_folder, savepoint_folder
from shared.object_store import ObjectStore
from workers.leases import Lease
from workers.savepoints import Savepoint, Savepoints
from workers.stored_savepoints import StoredSavepoints
from workers.tickets import Ticket

log = logs.get(__name__)


class Interim:
    """Of one execution of a step, from `begin` to the end of the `with` block.

    A preview is stored as it comes: families whose pictures must pass the safety check show none.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.savepoints = Savepoints()
        self._store = store
        self._stored: StoredSavepoints | None = None
        self._preview_key = ""
        self._shown = b""  # the last preview that was taken up
        self._saved: Savepoint | None = None  # the last savepoint that was

    def __enter__(self) -> "Interim":
        return self

    def __exit__(self, *_: object) -> None:
        self.savepoints.close()

    def begin(self, job: JobRecord, lease: Lease, revision: str, resumes: bool) -> None:
        """`revision` is the model's; only of a step that `resumes` savepoints are stored."""
        place = job.id, lease.step, job.steps[lease.step].step.name
        self._preview_key = f"{attempt_folder(*place, lease.fence)}{PREVIEW}"
        if resumes:
            folder = savepoint_folder(*place)
            self._stored = StoredSavepoints(self._store, folder, lease.fence, revision)

    def restore(self) -> None:
        """Fetch what an earlier execution saved. Raises StorageUnavailable, OSError."""
        if self._stored:
            self._saved = self._stored.restore(self.savepoints)

    def keep(self, ticket: Ticket) -> bool:
        """Store what is new; whether there was a savepoint. Trouble is logged and no more."""
        if ticket.preview is not self._shown:
            self._show(ticket.preview)
        newest = self.savepoints.newest
        if not self._stored or not newest or newest is self._saved:
            return False
        self._saved = newest
        try:
            return self._stored.save(newest, lambda: not ticket.future.done())
        except (StorageUnavailable, OSError) as error:
            log.warning("a savepoint is not stored", error=str(error))
            return False
        finally:
            self.savepoints.forget_before(newest)

    def _show(self, picture: bytes) -> None:
        self._shown = picture
        try:
            self._store.put(self._preview_key, picture, "image/jpeg")
        except (StorageUnavailable, OSError) as error:
            log.warning("a preview is not stored", error=str(error))

    def erase(self, step_ended: bool) -> None:
        """Remove the preview, and the savepoints too once nobody goes on with the step.

        What cannot be removed is left to the collector.
        """
        try:
            if self._shown:
                self._store.delete([self._preview_key])
            if self._stored and step_ended:
                self._stored.erase()
        except StorageUnavailable as error:
            log.warning("left to the collector", error=error.message)
