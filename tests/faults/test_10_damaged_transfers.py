"""Row 10: transfers to and from S3 break off, arrive with other bytes, crawl, or are reset."""

from collections import Counter
from functools import partial

import pytest

from tests.faults.proxy import harm

LARGEST = 8_000  # bytes: more than any request or reply of these jobs


def truncate(chance, link):
    link.truncate(chance.choice(["request", "reply"]), chance.randrange(1, LARGEST))


def corrupt(chance, link):
    link.corrupt(chance.choice(["request", "reply"]))


def throttle(chance, link):
    link.throttle(chance.randrange(1_000, 10_000))


def reset(_, link):
    link.reset()


FAULTS = (truncate, truncate, corrupt, corrupt, throttle, reset)


@pytest.mark.row(10, "truncated upload or download")
def test_no_job_succeeds_with_bad_bytes(cluster, row):
    links = cluster.everyones("s3")
    before = harmed(links)
    for trial in row.trials(cluster, short=1, full=8):
        with trial.load(rate=20):
            for fault in trial.chance.sample(FAULTS, len(FAULTS)):
                with harm(links, partial(fault, trial.chance)):
                    trial.wait(0.3, 1.5)
            trial.healed()
        trial.settle()
        trial.refusals()
    assert len(harmed(links) - before) == 2


def harmed(links):
    """How many pieces of traffic were truncated and how many corrupted."""
    counts = (Counter(truncated=k.truncated, corrupted=k.corrupted) for k in links)
    return sum(counts, Counter())
