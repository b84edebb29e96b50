"""Row 1: kill -9 the model process in mid-step."""

import os
import signal

import pytest

from tests.faults.conftest import LEASE_S

RECOVERY_S = LEASE_S + 10


@pytest.mark.row(1, "kill -9 the model process in mid-step")
def test_the_step_goes_on_in_a_new_process(cluster, row):
    for trial in row.trials(cluster, short=1, full=10):
        with trial.load():
            for _ in range(3):
                trial.wait(0.2, 1.5)
                pid = cluster.model_pid(trial.choose(*cluster.worker_names))
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    trial.healed()
        trial.settle()
    assert row.result.slowest_s <= RECOVERY_S or not row.full
