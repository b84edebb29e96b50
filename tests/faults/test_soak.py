"""Random faults of every kind, one after the other, against a service under load."""

import pytest

from tests.faults.cluster import REAL, Cluster
from tests.faults.soak import Plan, soak

SHORT = Plan(seconds=7, gap_s=(0.8, 1.6), pause_s=(0.5, 1.5), rate=8, steps=40, lease_s=4)
LONG = Plan(seconds=600, gap_s=(8, 15), pause_s=(2, 12), rate=1, steps=40, lease_s=8)


def check(result):
    assert result.findings.clean, "\n".join(result.findings.lines())
    assert all(step.over for step in result.watch.set_back)


def test_some_seconds_with_scripted_models(tmp_path, seed):
    workers = {"captioner": 1, "translator": 2, "diffuser": 2}
    with Cluster(tmp_path / "cluster", workers, SHORT.env) as cluster:
        check(soak(cluster, SHORT, seed))


@pytest.mark.full
def test_ten_minutes_with_real_models(tmp_path, seed, run):
    workers = {"captioner": 2, "translator": 2, "diffuser": 2}
    with Cluster(tmp_path / "cluster", workers, LONG.env, REAL) as cluster:
        run.soak = soak(cluster, LONG, seed)
    check(run.soak)
    assert run.soak.slowest_s <= run.soak.plan.limit_s
