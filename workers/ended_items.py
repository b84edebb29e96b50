"""What the items of a chunk have given so far, kept in S3 for whoever claims the step next."""

import re

from pydantic import ValidationError

from shared import logs
from shared.contracts import StepOutput
from shared.errors import NotFound
from shared.object_store import ObjectStore

log = logs.get(__name__)


class EndedItems:
    """Of one step, as the execution under one fence finds and keeps them.

    Every execution writes an object of its own, so that one which has lost its lease overwrites
    nothing. Both methods raise StorageUnavailable.
    """

    def __init__(self, store: ObjectStore, folder: str, fence: int) -> None:
        """`folder` is the step's `savepoint_folder`."""
        self._store = store
        self._folder = folder
        self._fence = fence

    def restore(self) -> StepOutput | None:
        """What the latest execution kept: `items` are those that had ended."""
        keys = [entry.key for entry in self._store.list(self._folder)]
        for key in sorted(keys, key=_fence, reverse=True):
            try:
                return StepOutput.model_validate_json(self._store.get(key))
            except (NotFound, ValidationError) as error:
                log.warning("kept items cannot be read", key=key, error=str(error))
        return None

    def keep(self, output: StepOutput) -> None:
        """Keep this, in place of what the execution kept before."""
        key = f"{self._folder}a{self._fence}.json"
        self._store.put(key, output.model_dump_json().encode(), "application/json")


def _fence(key: str) -> int:
    """Of the execution that wrote the object."""
    found = re.search(r"/a(\d+)\.json$", key)
    return int(found[1]) if found else 0
