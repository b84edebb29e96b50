"""The model process: a real one, with a family that needs no torch."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from shared.errors import (
    InvalidImage,
    ModelNotAvailable,
    ModelProcessDied,
    OutOfMemory,
    PredictionFailed,
    StepInterrupted,
)
from tests.waiting import PATIENCE_S, until
from tests.workers.gate import Gate
from workers.model_process import (
    ROOT,
    ModelNotReady,
    ModelProcess,
    NotBegun,
    Prediction,
    environment,
    visible_device,
)
from workers.predictor import Batch, Checkpoint
from workers.telemetry import NO_TELEMETRY

FAKE = "tests.workers.fake_family:Fake"


def run(process: ModelProcess, do: str = "", model: str = "m", **params: object) -> Prediction:
    batch = Batch(model, params, 2, [{"text": "a", "do": do}])
    return process.submit(batch, lambda *_: None).result(PATIENCE_S)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_runs_in_a_process_of_its_own_without_torch(process: ModelProcess) -> None:
    assert process.wait_ready(PATIENCE_S)
    (result,) = run(process).results
    assert result["pid"] == process.pid != os.getpid()
    assert result["device"] == ("cpu", "")
    assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()


def test_it_sees_its_one_device_only() -> None:
    process = ModelProcess(FAKE, "cuda:1", [Checkpoint("m", Path("m"), "r1")])
    try:
        assert process.wait_ready(PATIENCE_S)
        expected = visible_device("1", os.environ)
        assert run(process).results[0]["device"] == ("cuda:0", expected)
    finally:
        process.close()


def test_a_family_that_works_on_one_device_refuses_several() -> None:
    process = ModelProcess(FAKE, "cuda:1,cuda:3", [Checkpoint("m", Path("m"), "r1")])
    try:
        with pytest.raises(ModelNotAvailable, match="one device, not on cuda:0,cuda:1 together"):
            process.wait_ready(PATIENCE_S)
    finally:
        process.close()


def test_several_devices_are_all_that_a_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert environment("cuda:1,cuda:3", 1)["CUDA_VISIBLE_DEVICES"] == "5,7"
    assert environment("cpu,cpu", 1)["CUDA_VISIBLE_DEVICES"] == ""


def test_devices_are_counted_among_those_the_worker_may_use() -> None:
    assert visible_device("1", {}) == "1"
    assert visible_device("1", {"CUDA_VISIBLE_DEVICES": "4,6"}) == "6"


def test_no_library_in_it_reports_home() -> None:
    assert NO_TELEMETRY.items() <= environment("cpu", None).items()


def test_progress_arrives_and_time_is_measured(process: ModelProcess) -> None:
    assert process.wait_ready(PATIENCE_S)
    seen: list[Any] = []
    batch = Batch("m", {"steps": 3, "seconds": 0.06}, 1, [{}])
    future = process.submit(batch, seen.append)
    assert 150 <= future.result(PATIENCE_S).run_ms < 1500
    assert (seen[0].done, seen[0].total, seen[0].message) == (0, 3, "step 0 of 3")
    assert (seen[-1].done, seen[-1].total, seen[-1].message) == (3, 3, "done")


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("die", "was killed by SIGKILL"),
        ("segfault", "was killed by SIGSEGV"),
        ("exit", "ended with exit status 3"),
    ],
)
def test_a_death_is_named_and_the_process_comes_back(
    process: ModelProcess, do: str, words: str
) -> None:
    assert process.wait_ready(PATIENCE_S)
    before = process.pid
    with pytest.raises(ModelProcessDied, match=f"the model process {words}"):
        run(process, do)
    assert process.wait_ready(PATIENCE_S)
    assert process.pid != before
    assert run(process).results


def test_errors_keep_their_type(process: ModelProcess) -> None:
    assert process.wait_ready(PATIENCE_S)
    with pytest.raises(PredictionFailed, match="ValueError: too green"):
        run(process, "raise")
    with pytest.raises(InvalidImage, match="not a picture"):
        run(process, "refuse")
    with pytest.raises(OutOfMemory, match="the barrel is full"):
        run(process, "fill memory")
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        run(process, "fill memory in company")


@pytest.mark.parametrize("do", ["lose the device", "run out and stumble"])
def test_out_of_memory_is_told_even_where_it_costs_the_device(
    process: ModelProcess, do: str
) -> None:
    assert process.wait_ready(PATIENCE_S)
    with pytest.raises(OutOfMemory, match="out of memory"):
        run(process, do)
    assert process.wait_ready(PATIENCE_S)
    assert run(process).results


def test_a_process_without_its_device_takes_no_batch_and_is_replaced(
    process: ModelProcess,
) -> None:
    assert process.wait_ready(PATIENCE_S)
    before = process.pid
    for _ in range(3):
        with pytest.raises(OutOfMemory):
            run(process, "lose the device")
        with pytest.raises(ModelNotReady):
            process.submit(Batch("m", {}, 1, [{}]), lambda *_: None)
        assert process.wait_ready(PATIENCE_S)
    assert process.pid != before


def test_a_lost_device_is_a_death(process: ModelProcess) -> None:
    assert process.wait_ready(PATIENCE_S)
    with pytest.raises(ModelProcessDied, match="exit status 1"):
        run(process, "stumble")
    assert process.wait_ready(PATIENCE_S)


def test_a_hung_process_is_killed_and_comes_back(process: ModelProcess) -> None:
    assert process.wait_ready(PATIENCE_S)
    future = process.submit(Batch("m", {}, 1, [{"do": "hang"}]), lambda *_: None)
    time.sleep(0.1)
    process.kill()
    with pytest.raises(ModelProcessDied, match="SIGKILL"):
        future.result(PATIENCE_S)
    with pytest.raises(ModelNotReady):
        process.submit(Batch("m", {}, 1, [{}]), lambda *_: None)
    assert process.wait_ready(PATIENCE_S)


# Two orders at a time


def begin(process: ModelProcess, gate: Gate, *does: str) -> list["Future[Prediction]"]:
    """Batches in this order, of which each waits at the gate and then does something."""
    assert process.wait_ready(PATIENCE_S)
    return [
        process.submit(Batch("m", {}, 1, [{"do": do, "text": do, "gate": gate}]), lambda _: None)
        for do in does
    ]


def test_a_second_order_follows_the_first(process: ModelProcess, gate: Gate) -> None:
    first, second = begin(process, gate, "a", "b")
    with pytest.raises(RuntimeError, match="2 orders at a time"):
        begin(process, gate, "c")
    gate.open()
    assert [each.result(PATIENCE_S).results[0]["text"] for each in (first, second)] == ["a", "b"]
    [third] = begin(process, gate, "c")
    assert third.result(PATIENCE_S).results[0]["text"] == "c"


def test_what_has_not_begun_may_be_withdrawn(process: ModelProcess, gate: Gate) -> None:
    first, second = begin(process, gate, "a", "b")
    process.withdraw(second)
    with pytest.raises(NotBegun):
        second.result(PATIENCE_S)
    assert not first.done()
    [third] = begin(process, gate, "c")
    gate.open()
    assert [each.result(PATIENCE_S).results[0]["text"] for each in (first, third)] == ["a", "c"]


def test_what_has_begun_goes_on(process: ModelProcess, gate: Gate) -> None:
    first, second = begin(process, gate, "a", "b")
    until(gate.reached)
    process.withdraw(first)
    gate.open()
    first.result(PATIENCE_S)
    process.withdraw(first)
    assert second.result(PATIENCE_S).results


def test_a_cancel_is_for_one_of_them(process: ModelProcess, tmp_path: Path) -> None:
    assert process.wait_ready(PATIENCE_S)
    params = {"steps": 20, "seconds": 0.05, "stopped": str(tmp_path / "stopped")}
    first, second = (process.submit(Batch("m", params, 1, [{}]), lambda _: None) for _ in "ab")
    time.sleep(0.2)
    process.cancel(first)
    assert first.result(PATIENCE_S).results == []
    process.cancel(first)  # too late, and of no concern to the other
    time.sleep(0.1)
    process.cancel(second)
    assert second.result(PATIENCE_S).results == []


@pytest.mark.parametrize("do", ["die", "lose the device"])
def test_what_ends_the_process_is_not_the_fault_of_the_second(
    process: ModelProcess, gate: Gate, do: str
) -> None:
    first, second = begin(process, gate, do, "b")
    gate.open()
    with pytest.raises(ModelProcessDied if do == "die" else OutOfMemory):
        first.result(PATIENCE_S)
    with pytest.raises(NotBegun):
        second.result(PATIENCE_S)
    assert process.wait_ready(PATIENCE_S)
    assert run(process).results


def test_an_error_of_the_first_does_not_touch_the_second(process: ModelProcess, gate: Gate) -> None:
    first, second = begin(process, gate, "raise", "b")
    gate.open()
    with pytest.raises(PredictionFailed):
        first.result(PATIENCE_S)
    assert second.result(PATIENCE_S).results


def test_it_ignores_the_signals_meant_for_its_worker(process: ModelProcess) -> None:
    assert process.wait_ready(PATIENCE_S)
    pid = process.pid
    assert pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.1)
    assert run(process).results[0]["pid"] == pid


def test_a_load_that_raises_tells_why() -> None:
    process = ModelProcess(FAKE, "cpu", [Checkpoint("m", Path("broken"), "r1")])
    try:
        with pytest.raises(ModelNotAvailable, match="ValueError: no such layer: left_knee"):
            process.wait_ready(PATIENCE_S)
        assert not process.ready
    finally:
        process.close()


def test_a_death_while_loading_is_told_and_tried_again_later() -> None:
    process = ModelProcess(FAKE, "cpu", [Checkpoint("m", Path("deadly"), "r1")])
    try:
        with pytest.raises(ModelProcessDied, match="SIGABRT while loading"):
            process.wait_ready(PATIENCE_S)
    finally:
        process.close()


def test_a_model_that_cannot_be_loaded_again_is_not_its_jobs_fault(tmp_path: Path) -> None:
    process = ModelProcess(FAKE, "cpu", [Checkpoint("m", tmp_path, "r1")])
    try:
        assert process.wait_ready(PATIENCE_S)
        (tmp_path / "away").touch()
        process.kill()
        until(lambda: process.error)
        with pytest.raises(StepInterrupted, match=r"cannot be loaded again: ValueError: away"):
            process.wait_ready(0)
        (tmp_path / "away").unlink()
        until(lambda: process.ready)
        assert process.error is None
    finally:
        process.close()


def test_a_process_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    process = ModelProcess(FAKE, "cpu", [Checkpoint("m", Path("m"), "r1")])
    try:
        with pytest.raises(ModelNotAvailable, match=r"cannot be started: .*No such file"):
            process.wait_ready(PATIENCE_S)
        (tmp_path / "missing").mkdir()
        until(lambda: process.ready)
    finally:
        process.close()


def test_no_process_is_left_after_close() -> None:
    process = ModelProcess(FAKE, "cpu", [Checkpoint("m", Path("m"), "r1")])
    assert process.wait_ready(PATIENCE_S)
    pid = process.pid
    assert pid
    assert alive(pid)
    process.close()
    assert not alive(pid)


def test_no_process_is_left_when_the_worker_is_killed() -> None:
    """In the middle of a batch that never ends, which no pipe would interrupt."""
    worker = f"""
import sys, time
from pathlib import Path
from workers.model_process import ModelProcess
from workers.predictor import Batch, Checkpoint
process = ModelProcess({FAKE!r}, "cpu", [Checkpoint("m", Path("m"), "r1")])
process.wait_ready({PATIENCE_S})
process.submit(Batch("m", {{}}, 1, [{{"do": "hang"}}]), print)
print("pid", process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, cwd=ROOT) as it:
        assert it.stdout
        pid = next(int(line[4:]) for line in it.stdout if line.startswith(b"pid "))  # not a log's
        assert alive(pid)
        it.kill()
    until(lambda: not alive(pid))


# Several models


@pytest.fixture(scope="module")
def several() -> Iterator[ModelProcess]:
    """Room for two of its models."""
    checkpoints = [
        Checkpoint(name, Path(name), "r1", memory_gb=size)
        for name, size in {"a": 1, "b": 1, "large": 2, "huge": 3, "broken": 1, "deadly": 1}.items()
    ]
    process = ModelProcess(FAKE, "cpu", checkpoints, memory_gb=2)
    assert process.wait_ready(PATIENCE_S)
    yield process
    process.close()


def hold(process: ModelProcess, *models: str) -> frozenset[str]:
    assert process.wait_ready(PATIENCE_S)
    for model in models:
        process.hold(model).result(PATIENCE_S)
    return process.held


def test_models_are_loaded_on_demand_and_make_room(several: ModelProcess) -> None:
    assert hold(several) == {"a"}
    assert hold(several, "b") == {"a", "b"}
    assert hold(several, "large") == {"large"}
    assert run(several, model="a").results[0]["loads"] == ["a", "b", "large", "a"]
    assert several.held == {"a"}


def test_a_model_that_cannot_be_loaded_costs_the_others_nothing(several: ModelProcess) -> None:
    assert hold(several, "a")
    pid = several.pid
    with pytest.raises(ModelNotAvailable, match="left_knee"):
        hold(several, "broken")
    with pytest.raises(OutOfMemory, match=r"huge needs about 3\.0 GB, .* may use 2\.0 GB"):
        hold(several, "huge")
    with pytest.raises(ModelNotAvailable, match="does not serve nobody"):
        hold(several, "nobody")
    assert "a" in several.held
    assert run(several, model="a").results[0]["pid"] == several.pid == pid


def test_a_batch_without_enough_memory_is_tried_again_without_the_others(
    several: ModelProcess,
) -> None:
    assert hold(several, "a", "b") == {"a", "b"}
    (result,) = run(several, "fill memory beside others", model="b").results
    assert result["computed"] == 2
    assert several.held == {"b"}
    with pytest.raises(OutOfMemory):
        run(several, "fill memory", model="b")
    assert several.held == {"b"}


def test_a_new_process_begins_with_the_model_that_was_used_last(several: ModelProcess) -> None:
    assert hold(several, "a", "b") == {"a", "b"}
    with pytest.raises(ModelProcessDied):
        run(several, "die", model="b")
    assert several.held == frozenset()
    assert hold(several) == {"b"}


def test_a_model_whose_load_ends_the_process_is_named(several: ModelProcess) -> None:
    assert hold(several, "a")
    assert run(several, model="a")
    with pytest.raises(ModelProcessDied, match=r"SIGABRT while it loaded deadly, .* 1\.0 GB$"):
        hold(several, "deadly")
    assert hold(several) == {"a"}
    assert several.error is None


def test_a_first_model_that_is_too_large_is_told_at_the_start() -> None:
    checkpoints = [Checkpoint("huge", Path("huge"), "r1", memory_gb=3)]
    process = ModelProcess(FAKE, "cpu", checkpoints, memory_gb=2)
    try:
        with pytest.raises(OutOfMemory, match=r"3\.0 GB, .* 2\.0 GB \(IMAGEMILL_MEMORY_GB\)"):
            process.wait_ready(PATIENCE_S)
    finally:
        process.close()
