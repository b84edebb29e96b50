import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S
from tests.workers.gate import Gate
from workers.batcher import MicroBatcher
from workers.model_process import ModelProcess
from workers.predictor import Checkpoint
from workers.telemetry import NO_TELEMETRY

os.environ.update(NO_TELEMETRY)

FAKE = "tests.workers.fake_family:Fake"


@pytest.fixture(scope="session")
def process() -> Iterator[ModelProcess]:
    """A fake family's model process, shared: it is respawned whatever a test does to it."""
    process = ModelProcess(FAKE, "cpu", [Checkpoint("m", Path("m"), "r1")])
    assert process.wait_ready(PATIENCE_S)
    yield process
    process.close()


@pytest.fixture(scope="session")
def saving() -> Iterator[ModelProcess]:
    """A model process whose batches are saved every twentieth of a second."""
    checkpoint = Checkpoint("m", Path("m"), "r1")
    process = ModelProcess(
        "tests.workers.resumable_family:Counter", "cpu", [checkpoint], savepoint_s=0.05
    )
    assert process.wait_ready(PATIENCE_S)
    yield process
    process.close()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def batcher(process: ModelProcess) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(process, patience_s=1)
    yield batcher
    batcher.close()
    batcher._thread.join(PATIENCE_S)
    assert not batcher._thread.is_alive()
