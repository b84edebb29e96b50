"""Row 6: the ledger, the broker, or both are ended in the middle of a burst."""

import signal
from itertools import cycle

import pytest

ENDS = [
    (names, number)
    for number in (signal.SIGKILL, signal.SIGTERM)
    for names in (("ledger", "broker"), ("broker",), ("ledger",))
]


@pytest.mark.row(6, "Redis TERM and kill -9 mid-burst")
def test_what_was_accepted_is_still_there(cluster, row):
    for trial, (names, number) in zip(row.trials(cluster, short=1, full=9), cycle(ENDS)):
        with trial.load(rate=25):
            trial.wait(0.5, 2)
            for name in names:
                cluster.signal(name, number)
            trial.healed()
            trial.wait(0.5, 2)
        trial.until_all_work()
        trial.settle()
        trial.refusals()
