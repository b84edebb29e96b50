"""The manifest: a job as the ledger knows it, in the object store beside its artifacts.

From the manifests a ledger that lost everything can be rebuilt.
"""

from shared.errors import NotFound
from shared.layout import manifest_key
from shared.ledger import Ledger
from shared.object_store import ObjectStore


def save(ledger: Ledger, store: ObjectStore, job_id: str) -> None:
    """Write the job's manifest, and tell the ledger which version of the job it shows.

    Any number may save a job at once. Of two whose versions differ, the one with the older may
    write last, so the ledger believes neither, and the job is saved again. Only a saver that
    writes last and dies before its word leaves an older version unnoticed, until the job's next
    change; a job restored from that does its latest step again. Raises StorageUnavailable,
    LedgerUnavailable.
    """
    try:
        job = ledger.get(job_id)
    except NotFound:
        ledger.nothing_to_save(job_id)
        return
    if job.batch:
        return
    text = job.model_dump_json(indent=1)
    store.put(manifest_key(job_id), text.encode(), "application/json")
    ledger.saved(job)
