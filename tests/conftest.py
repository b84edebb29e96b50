"""Fixtures for tests against real servers.

`servers`: a ledger, a broker and an S3 server. `stack`: these with the API, the tiny workers and
the reaper. Each is started once for the whole run, when the first test asks for it; both are a
`deploy.handle.StackHandle` (`api_url`, `info`, `pids`, `settings`, `data_dir`, `worker(family)`)
with `store` and `wait_for_object(key)` added.
"""

import os
import time
from pathlib import Path
from typing import Self

import pytest

from deploy.handle import StackHandle
from deploy.supervisor import StackError
from shared.errors import NotFound
from shared.object_store import S3ObjectStore
from tests.waiting import PATIENCE_S

# Before torch is imported: on a busy machine two threads of a tiny model wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


FAULTS = Path(__file__).parent / "faults"


class TestedStack(StackHandle):
    """A stack with what tests look at behind the API's back."""

    @property
    def store(self) -> S3ObjectStore:
        return S3ObjectStore(self.settings)

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except StackError:
            print(self.log_tails())
            raise

    def wait_for_object(self, key: str, timeout_s: float = PATIENCE_S) -> bytes:
        """The bytes under the key, once they are there."""
        store, limit = self.store, time.monotonic() + timeout_s
        while True:
            try:
                return store.get(key)
            except NotFound:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    with TestedStack(tmp_path_factory.mktemp("servers"), servers_only=True) as handle:
        yield handle


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    # So short that a killed worker's step need not be waited for a minute, nor a savepoint.
    env = {"IMAGEMILL_LEASE_S": "6", "IMAGEMILL_SAVEPOINT_S": "0.5"}
    with TestedStack(tmp_path_factory.mktemp("stack"), env=env) as handle:
        yield handle


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items):
    """For runs in several processes (pytest-xdist, `--dist loadgroup`): the tests of a file stay
    together, as do all of the fault table and all that share the stack; these take longest."""

    def group(item):
        if FAULTS in item.path.parents:
            return "faults"
        return "stack" if "stack" in item.fixturenames else str(item.path)

    items.sort(key=lambda item: ("faults", "stack", group(item)).index(group(item)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


def pytest_make_parametrize_id(val, argname):
    """Archives hold the time at which they were made: all processes must name a test alike."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the end of the servers' logs with a test that failed against them."""
    report = yield
    if report.when == "call" and report.failed:
        for name in ("servers", "stack"):
            if isinstance(handle := item.funcargs.get(name), StackHandle):
                report.sections.append((f"logs of {name}", handle.log_tails()))
    return report
