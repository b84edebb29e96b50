"""Row 15: the clocks of workers, the API and the reaper are an hour off, ahead or behind."""

import hashlib
import json
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.faults.cluster import Cluster
from tests.faults.conftest import ENVIRONMENT, LEASE_S
from tests.faults.load import generate
from tests.waiting import PATIENCE_S

WORKERS = {"captioner": 1, "translator": 1, "diffuser": 2}
HOUR_S = 3600
SLACK_S = 120
RETENTION_S = 7 * 86_400
# libfaketime refuses the call by which Python sleeps while the monotonic clock is left alone.
SLEEP = "import select, time\ntime.sleep = lambda s: select.select([], [], [], s) and None\n"


@pytest.mark.row(15, "a worker's clock an hour off; the API's and the reaper's too")
@pytest.mark.parametrize("other", [1, pytest.param(-1, marks=pytest.mark.full)])
def test_nothing_expires_early(tmp_path, row, other):
    """No part of the service has the right time, and they do not agree with each other."""
    library = faketime()
    if library is None:
        pytest.skip("libfaketime is not installed (Debian package faketime)")
    hours = {"api": 1, "reaper": -1, "captioner-1": -1, "translator-1": 1, "diffuser-1": 1}
    hours = {name: sign * other for name, sign in {**hours, "diffuser-2": -1}.items()}
    (tmp_path / "sitecustomize.py").write_text(SLEEP)
    own_env = {name: off_by(sign, library, tmp_path) for name, sign in hours.items()}
    with Cluster(tmp_path / "cluster", WORKERS, ENVIRONMENT, own_env=own_env) as cluster:
        for name in cluster.worker_names:
            assert_off(cluster.record(name).started_at / 1000, hours[name])
        date = httpx.get(f"{cluster.api_url}/healthz", timeout=PATIENCE_S).headers["date"]
        assert_off(parsedate_to_datetime(date).timestamp(), hours["api"])
        for trial in row.trials(cluster, short=1, full=5):
            with trial.load():
                long = {**generate(f"do: sleep {LEASE_S + 0.5}"), "deadline_s": 60}
                job = trial.submit(long)
                cluster.until(lambda: all(map(succeeded, logs(cluster))), what="each has worked")
            trial.healed()
            assert trial.settle().extra == 0
            check_times(trial.client.job(job))
            check_link(trial.client.job(job))


def faketime():
    """The library that gives a process another time; None where it is not installed."""
    return next(Path("/usr").glob("l*/**/faketime/libfaketimeMT.so.1"), None)


def off_by(hours, library, modules):
    """The environment of a process whose wall clock is off, and nothing else that it sees."""
    return {
        "LD_PRELOAD": f"{library}",
        "FAKETIME": f"{hours:+d}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Else it lets every wait for the interpreter's lock return at once: threads that wait then
        # take all of the machine's time, and leases end for want of it.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": f"{modules}",
    }


def assert_off(seconds, hours):
    assert abs(seconds - time.time() - hours * HOUR_S) < SLACK_S


def check_times(job):
    """A job's times are by one clock, which is right."""
    created, finished, expires = (
        datetime.fromisoformat(job[name]).timestamp()
        for name in ("created_at", "finished_at", "expires_at")
    )
    assert created < finished
    assert_off(created, 0)
    assert expires - finished == pytest.approx(RETENTION_S, abs=1)


def check_link(job):
    """The link that the API has signed serves the picture."""
    [image] = job["outputs"]["images"]
    answer = httpx.get(image["url"], follow_redirects=True, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]


def logs(cluster):
    return [cluster.log(name) for name in cluster.worker_names]


def succeeded(log):
    """Whether a worker has brought a step to its end."""
    ends = [json.loads(line) for line in log.splitlines() if '"step ended"' in line]
    return any(line["outcome"] in ("next", "succeeded") for line in ends)
