import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy import supervisor as module
from deploy.supervisor import Interrupted, Part, PartFailed, StackError, Supervisor
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).resolve().parents[2]


class World:
    """A supervisor, what it said, and how often it was asked to stop."""

    def __init__(self, folder):
        self.folder = folder
        self.stops = 0
        self.said = []
        self.pids = []
        self.supervisor = Supervisor(
            folder,
            lambda: self.stops,
            self.said.append,
            lambda pids: self.pids.append(dict(pids)),
            longest_delay_s=0.1,
        )

    def part(self, name, script="exec sleep 100", **options):
        return Part(name, ["sh", "-c", script], dict(os.environ), self.folder, **options)

    def deaf(self, name, trap, **options):
        """A part that meets SIGTERM with the shell command `trap`; ready once it would."""
        mark = self.folder / f"{name}.up"
        script = f"trap '{trap}' TERM; touch {mark}; while :; do sleep 0.02; done"
        return self.part(name, script, probe=lambda pid: mark.exists(), **options)

    def start(self, *parts, deaths=1, timeout_s=PATIENCE_S):
        self.supervisor.start(parts, deaths, timeout_s)

    def run_until(self, condition):
        limit = time.monotonic() + PATIENCE_S
        self.supervisor.run_until(lambda: condition() or time.monotonic() > limit)
        assert condition()


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(module, "PROBE_S", 0.02)
    world = World(tmp_path)
    yield world
    world.stops = 2
    world.supervisor.stop()


def test_parts_start_and_stop_in_order(world):
    world.start(*(world.deaf(name, f"echo {name} >> order; exit") for name in "abc"))
    pids = world.supervisor.pids
    assert set(pids) == {"a", "b", "c"}
    world.supervisor.stop([["b"], ["c", "unknown"]])
    assert (world.folder / "order").read_text().split() == ["b", "c", "a"]
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert world.supervisor.pids == {}


def test_start_waits_for_the_probe(world):
    mark = world.folder / "mark"
    world.start(
        world.part("a", f"sleep 0.3; touch {mark}; exec sleep 100", probe=lambda pid: mark.exists())
    )
    assert mark.exists()


def test_a_part_that_dies_is_started_again_and_said_so(world):
    world.start(world.part("a"))
    before = world.supervisor.pids["a"]
    os.kill(before, signal.SIGKILL)
    world.run_until(lambda: "a is up again" in " ".join(world.said))
    after = world.supervisor.pids["a"]
    assert after != before
    assert world.pids[-1] == {"a": after}
    assert "killed by SIGKILL" in world.said[0]


def test_pauses_grow_with_every_death(world):
    with pytest.raises(PartFailed, match="a does not start"):
        world.start(world.part("a", "exit 3", probe=lambda pid: False), deaths=4)
    pauses = [float(line.split()[-2]) for line in world.said]
    assert pauses == [0.05, 0.1, 0.1, 0.1]


def test_a_part_that_does_not_start_is_told_with_its_last_words(world):
    with pytest.raises(PartFailed, match="no such table"):
        world.start(world.part("a", "echo no such table >&2; exit 1", probe=lambda pid: False))


def test_a_part_that_is_never_ready_is_an_error(world):
    with pytest.raises(StackError, match="a: not ready after"):
        world.start(world.part("a", probe=lambda pid: False), world.part("b"), timeout_s=0.3)


def test_asked_to_stop_while_starting(world):
    world.stops = 1
    with pytest.raises(Interrupted):
        world.start(world.part("a", probe=lambda pid: False))


def test_what_does_not_end_in_its_grace_is_killed(world):
    world.start(world.deaf("a", "", grace_s=0.3))
    started = time.monotonic()
    world.supervisor.stop()
    assert time.monotonic() - started > 0.25


def test_a_second_request_kills_at_once(world):
    world.start(world.deaf("a", "", grace_s=60))
    world.stops = 2
    started = time.monotonic()
    world.supervisor.stop()
    assert time.monotonic() - started < 30


def lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_a_part_started_ends_with_it(world):
    world.start(world.part("a", "sleep 1000 & echo $! > child; wait"))
    child = world.folder / "child"
    world.run_until(lambda: child.exists() and child.read_text().strip())
    pid = int(child.read_text())
    world.supervisor.stop()
    until(lambda: not lives(pid))


def test_logs_are_bounded(world, monkeypatch):
    monkeypatch.setattr(module, "MAX_LOG_BYTES", 5000)
    world.start(world.part("a", "while :; do echo 0123456789 0123456789; sleep 0.001; done"))
    log = world.folder / "a.log"
    world.run_until(log.with_suffix(".log.1").exists)
    world.run_until(log.read_bytes)
    assert b"\0" not in log.read_bytes()  # it was opened for appending: no hole is left


def test_parts_end_when_the_supervisor_is_killed(tmp_path):
    script = f"""
from pathlib import Path
from deploy.supervisor import Part, Supervisor
folder = Path({str(tmp_path)!r})
supervisor = Supervisor(folder, lambda: 0, print, lambda pids: None)
supervisor.start([Part("a", ["sleep", "1000"], {{}}, folder)], 1, 60)
print(supervisor.pids["a"], flush=True)
supervisor.run_until(lambda: False)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        part = psutil.Process(pid)
        process.kill()
        part.wait(PATIENCE_S)
