"""Row 11: the disk for a worker's temporary files is full."""

import os
import signal

import pytest

from tests.faults.cluster import Cluster
from tests.faults.conftest import ENVIRONMENT
from tests.faults.load import generate
from tests.faults.small_disk import small_disk

MB = 1_000_000


@pytest.mark.row(11, "the worker's temporary disk full")
def test_the_step_waits_for_space_and_leaves_none_taken(tmp_path, row):
    with small_disk(tmp_path / "tmp", 40) as folder:
        ballast = folder / "ballast"
        env = {**ENVIRONMENT, "TMPDIR": str(folder)}
        with Cluster(tmp_path / "cluster", {"diffuser": 1}, env) as cluster:
            for trial in row.trials(cluster, short=1, full=5):
                ballast.write_bytes(bytes(25 * MB))
                greedy = trial.submit(generate("do: write 20"))
                modest = trial.submit(generate("a picture"))
                trial.until_status(modest, "succeeded")
                failures = cluster.ledger.counters().get("retries", 0)

                def tried_again(before=failures):
                    return cluster.ledger.counters().get("retries", 0) > before

                cluster.until(tried_again, what="another try")
                # What a failed try wrote is gone before the next one.
                trial.wait(0, 3)
                ballast.unlink()
                trial.healed()
                trial.settle()
                assert cluster.ledger.get(greedy).steps[0].attempts == 1
                # Only the last try's files are left, and these go with their process.
                assert taken(folder) <= 20 * MB
                os.kill(cluster.model_pid("diffuser-1"), signal.SIGKILL)
                cluster.until(lambda: not taken(folder), what="a dead process leaves nothing")


def taken(folder):
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
