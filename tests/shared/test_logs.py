import io
import json
import logging
import warnings

import pytest
import structlog

from shared import logs


@pytest.fixture
def lines():
    """Configure logging into a buffer; gives the lines as objects; undone afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_one_json_line_an_event_with_what_is_bound(lines):
    log = logs.get("some.module")
    with logs.bound(job_id="job_1", step="caption"):
        log.info("claimed", fence=3, text="دائرة\n")
        logging.getLogger("celery").warning("library says %s", "hello")
    log.info("free")
    log.debug("not shown")
    claimed, library, free = lines()
    assert (claimed["event"], claimed["fence"], claimed["text"]) == ("claimed", 3, "دائرة\n")
    assert (claimed["job_id"], claimed["step"]) == ("job_1", "caption")
    assert (claimed["level"], claimed["logger"]) == ("info", "some.module")
    assert claimed["timestamp"].endswith("Z")
    assert (library["event"], library["job_id"]) == ("library says hello", "job_1")
    assert "job_id" not in free


def test_exceptions_and_warnings_stay_on_one_line(lines):
    try:
        raise ValueError("broken")
    except ValueError:
        logs.get("m").exception("oops")
    warnings.warn("careful", stacklevel=1)
    oops, warning = lines()
    assert "ValueError: broken" in oops["exception"]
    assert "careful" in warning["event"]


def test_configuring_twice_does_not_double_the_lines(lines):
    stream = io.StringIO()
    logs.configure("info", stream)
    logs.get("m").info("once")
    assert len(stream.getvalue().splitlines()) == 1
