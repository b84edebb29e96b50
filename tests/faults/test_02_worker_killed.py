"""Row 2: kill -9 the whole worker."""

import pytest

from tests.faults.conftest import LEASE_S

RECOVERY_S = LEASE_S + 10


@pytest.mark.row(2, "kill -9 a whole worker")
def test_its_steps_go_to_another_one(cluster, row):
    for trial in row.trials(cluster, short=1, full=10):
        with trial.load():
            trial.wait(0.5, 2.5)
            cluster.kill(trial.choose(*cluster.worker_names))
            trial.healed()
            trial.wait(0.1, 1)
        trial.settle()
    assert row.result.slowest_s <= RECOVERY_S or not row.full
