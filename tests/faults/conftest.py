"""The fault table: `make faults` runs all of it, `make test` a short version.

`cluster` is one service for all rows that leave it whole; a test with `row` reports as a row of
the table: mark it with `@pytest.mark.row(number, "what is injected")`.
"""

import random

import pytest

from tests.faults.cluster import ROOT, Cluster
from tests.faults.report import Run, summary, write
from tests.faults.rows import Result, Row

LEASE_S, GRACE_S = 4.0, 8.0
ENVIRONMENT = {"IMAGEMILL_LEASE_S": f"{LEASE_S}", "IMAGEMILL_SHUTDOWN_GRACE_S": f"{GRACE_S}"}
WORKERS = {"captioner": 1, "translator": 2, "diffuser": 2}
RUN = pytest.StashKey[Run]()


def pytest_addoption(parser):
    group = parser.getgroup("faults")
    group.addoption("--faults", choices=["short", "full"], default="short", help="how many rounds")
    group.addoption("--faults-seed", type=int, help="of all random moments (default: a new one)")


def pytest_configure(config):
    config.addinivalue_line("markers", "row(number, title): a row of the fault table")
    config.addinivalue_line("markers", "full: only in the full run of the fault table")
    seed = config.getoption("--faults-seed") or random.SystemRandom().randrange(10**6)
    config.stash[RUN] = Run(seed, config.getoption("--faults") == "full")


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
    return pytestconfig.stash[RUN].full


@pytest.fixture(scope="session")
def seed(pytestconfig):
    """What decides all chances of this run."""
    return pytestconfig.stash[RUN].seed


@pytest.fixture(scope="session")
def run(pytestconfig):
    """What this run has come to so far."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def measures(run):
    """The list that a test adds its `Measure`s to."""
    return run.measures


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A service of scripted families that every test leaves as whole as it found it."""
    with Cluster(tmp_path_factory.mktemp("faults"), WORKERS, ENVIRONMENT) as cluster:
        yield cluster


@pytest.fixture
def row(request, full, seed):
    """The row that the test is marked as."""
    number, title = request.node.get_closest_marker("row").args
    result = request.config.stash[RUN].rows.setdefault(number, Result(number, title))
    print(f"row {number}, seed {seed}")
    return Row(result, full, seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A row has passed when all of its tests have; a failed one shows the end of all logs."""
    outcome = yield
    mark = item.get_closest_marker("row")
    result = item.config.stash[RUN].rows.get(mark.args[0]) if mark else None
    if result is not None and call.when == "call":
        result.passed = outcome.passed and (result.passed or not result.tests)
        result.tests += 1
    if outcome.failed and call.when == "call":
        for value in item.funcargs.values():
            if isinstance(value, Cluster):
                outcome.sections.append(("logs", value.log_tails()))
    return outcome


def pytest_deselected(items):
    if items:
        items[0].config.stash[RUN].left_out += len(items)


def pytest_terminal_summary(terminalreporter, config):
    run = config.stash[RUN]
    if run.begun:
        terminalreporter.section(f"fault table, seed {run.seed}")
        for line in summary(run):
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """Around everything else that is printed at the end, so that the verdict is the last line."""
    result = yield
    run: Run = session.config.stash[RUN]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if run.begun and reporter:
        if run.full and not session.testsfailed and run.complete:
            write(run, ROOT / "docs")
            reporter.line("docs/reliability.md is of this run")
        elif run.full:
            reporter.line("docs/reliability.md is left as it was: this run was not whole")
        reporter.line(run.verdict)
    return result
