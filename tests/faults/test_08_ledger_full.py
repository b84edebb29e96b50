"""Row 8: the ledger's memory is full, and its disk."""

import shutil

import pytest

from tests.faults.cluster import Cluster
from tests.faults.conftest import ENVIRONMENT
from tests.faults.small_disk import small_disk

TITLE = "the ledger out of memory; its disk full"
ROOM = 100_000  # bytes; full within seconds
FAMILIES = ("captioner", "translator", "diffuser")


@pytest.mark.row(8, TITLE)
def test_without_memory_nothing_is_accepted(cluster, row):
    ledger = cluster.redis("ledger")
    for trial in row.trials(cluster, short=1, full=5):
        with trial.load():
            trial.wait(0.5, 2)
            ledger.config_set("maxmemory", ledger.info("memory")["used_memory"] + ROOM)
            try:
                cluster.until(trial.refusals, what="refused")
                trial.wait(0.5, 8 if row.full else 2)
            finally:
                ledger.config_set("maxmemory", 0)
            trial.healed()
        trial.until_all_work()
        trial.settle()
        trial.refusals()


@pytest.mark.row(8, TITLE)
def test_without_disk_the_server_ends_and_comes_back(tmp_path, row):
    with small_disk(tmp_path / "cluster" / "ledger", 40) as disk:
        ballast = disk / "ballast"
        with Cluster(tmp_path / "cluster", dict.fromkeys(FAMILIES, 1), ENVIRONMENT) as cluster:
            for trial in row.trials(cluster, short=1, full=5):
                with trial.load():
                    trial.wait(0.5, 2)
                    pid = cluster.pid("ledger")
                    fill(disk, ballast)
                    cluster.await_end("ledger", pid)
                    # Started again, it finds the disk as full as before.
                    cluster.until(trial.refusals, what="refused")
                    trial.wait(0.5, 8 if row.full else 2)
                    ballast.unlink()
                    trial.healed()
                trial.until_all_work()
                trial.settle()
                trial.refusals()
                assert "AOF write error" in cluster.log("ledger")


def fill(disk, ballast):
    """Leave ROOM on the disk."""
    with ballast.open("wb") as file:
        free = shutil.disk_usage(disk).free
        file.write(bytes(free - ROOM))
