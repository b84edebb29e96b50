"""The fault table: `make faults` runs all of it, `make test` a short version.

`cluster` is one service for all rows that leave it whole; a test with `row` reports as a row of
the table: mark it with `@pytest.mark.row(number, "what is injected")`.
"""

import random

import pytest

from tests.faults import report
from tests.faults.cluster import Cluster
from tests.faults.rows import Result, Row

LEASE_S = 4.0
ENVIRONMENT = {"IMAGEMILL_LEASE_S": f"{LEASE_S}", "IMAGEMILL_SHUTDOWN_GRACE_S": "8"}
WORKERS = {"captioner": 1, "translator": 2, "diffuser": 2}
RESULTS = pytest.StashKey[dict[int, Result]]()
SEED = pytest.StashKey[int]()


def pytest_addoption(parser):
    group = parser.getgroup("faults")
    group.addoption("--faults", choices=["short", "full"], default="short", help="how many rounds")
    group.addoption("--faults-seed", type=int, help="of all random moments (default: a new one)")


def pytest_configure(config):
    config.addinivalue_line("markers", "row(number, title): a row of the fault table")
    config.addinivalue_line("markers", "full: only in the full run of the fault table")
    config.stash[RESULTS] = {}
    config.stash[SEED] = config.getoption("--faults-seed") or random.SystemRandom().randrange(10**6)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--faults") == "full":
        for item in items:
            item.add_marker(pytest.mark.timeout(3600))
    else:
        skip = pytest.mark.skip(reason="only in the full run (make faults)")
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def full(pytestconfig):
    """Whether this is the full run."""
    return pytestconfig.getoption("--faults") == "full"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A service of scripted families that every test leaves as whole as it found it."""
    with Cluster(tmp_path_factory.mktemp("faults"), WORKERS, ENVIRONMENT) as cluster:
        yield cluster


@pytest.fixture
def row(request, full):
    """The row that the test is marked as."""
    number, title = request.node.get_closest_marker("row").args
    results, seed = request.config.stash[RESULTS], request.config.stash[SEED]
    result = results.setdefault(number, Result(number, title))
    print(f"row {number}, seed {seed}")
    return Row(result, full, seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A row has passed when all of its tests have; a failed one shows the end of all logs."""
    outcome = yield
    mark = item.get_closest_marker("row")
    result = item.config.stash[RESULTS].get(mark.args[0]) if mark else None
    if result is not None and call.when == "call":
        result.passed = outcome.passed and (result.passed or not result.tests)
        result.tests += 1
    if outcome.failed and call.when == "call":
        for value in item.funcargs.values():
            if isinstance(value, Cluster):
                outcome.sections.append(("logs", value.log_tails()))
    return outcome


def pytest_terminal_summary(terminalreporter, config):
    results = config.stash[RESULTS].values()
    if results:
        terminalreporter.section(f"fault table, seed {config.stash[SEED]}")
        for line in report.table(results):
            terminalreporter.line(line)
        terminalreporter.line(report.verdict(results))
