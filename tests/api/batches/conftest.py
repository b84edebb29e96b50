from typing import Any

import pytest

from api.services import connect
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from shared.testing.object_store import MemoryObjectStore
from tests.api.batches.keeping import KeptBatches
from tests.api.batches.source_world import source_store, source_world  # noqa: F401 - fixtures


@pytest.fixture
def keeping(
    settings: Settings, ledger: MemoryLedger, store: MemoryObjectStore, broker: Any
) -> KeptBatches:
    return KeptBatches(connect(settings, ledger, store, broker))
