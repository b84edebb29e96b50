from collections.abc import Iterator

import pytest

from shared.settings import Settings
from tests.shared.ledger.system import System


@pytest.fixture
def system(settings: Settings) -> Iterator[System]:
    system = System(settings)
    yield system
    system.close()
