"""Row 19: everything but S3 is killed while a batch of thousands runs."""

import time

import pytest

from tests.faults.batches import BatchOracle, lines_of

ITEMS = 5_000
KILLED = ("translator-1", "diffuser-1", "api", "batches", "ledger", "broker")
LIMIT_S = 240


@pytest.mark.row(19, "kill -9 of worker, API, keeper and both Redis within a batch of 5,000")
@pytest.mark.timeout(900)  # beside other work
def test_every_item_in_exactly_one_file(cluster, row):
    for trial in row.trials(cluster, short=1, full=3):
        batch = BatchOracle(cluster, lines_of(ITEMS, trial.chance))
        killed = trial.chance.sample(KILLED, len(KILLED))
        moments = sorted(trial.chance.sample(range(ITEMS // 20, ITEMS * 9 // 10), len(KILLED)))
        for name, moment in zip(killed, moments, strict=True):
            await_items(cluster, batch, moment)
            cluster.kill(name)
        cluster.until(batch.at_end, LIMIT_S, "the last item")
        cluster.kill("batches")
        healed = time.monotonic()
        cluster.until(batch.ended, LIMIT_S, "the end")
        recovery_s = time.monotonic() - healed
        findings = batch.check()
        row.result.add(findings, recovery_s)
        assert findings.clean, "\n".join(findings.lines())


def await_items(cluster, batch, count):
    cluster.until(lambda: batch.done() >= count, LIMIT_S, f"{count} items")
