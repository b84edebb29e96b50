"""The manifest that every ended job leaves in the object store, beside its artifacts."""

from shared.contracts import JobRecord
from shared.errors import NotFound
from shared.ledger import Ledger
from shared.object_store import ObjectStore


def manifest_key(job_id: str) -> str:
    return f"jobs/{job_id}/manifest.json"


def settle(ledger: Ledger, store: ObjectStore, job_id: str) -> None:
    """Write an ended job's manifest, so that its work can be found with the ledger gone.

    Repeating it writes the same bytes. Raises StorageUnavailable, LedgerUnavailable.
    """
    try:
        job: JobRecord = ledger.get(job_id)
    except NotFound:
        ledger.settled(job_id)
        return
    text = job.model_dump_json(indent=1)
    store.put(manifest_key(job_id), text.encode(), "application/json")
    ledger.settled(job_id)
