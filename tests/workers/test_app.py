"""Whole worker processes, with scripted models, against real servers through faulty links."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.process import die_with_parent
from shared.contracts import JobStatus, NewJob, Priority, Step, StepStatus, new_id
from shared.errors import ModelNotAvailable
from shared.ledger import Ledger
from shared.models import BatchClasses, Model
from shared.queues import admit, broker_app
from shared.settings import Settings
from tests.faults.proxy import FaultProxy
from tests.waiting import PATIENCE_S, until
from workers.app import in_flight, served_models

STEPS = {
    "translate": Step(
        name="translate", family="translator", model="tiny", params={}, batch_class=4
    ),
    "generate": Step(
        name="diffuse", family="diffuser", model="tiny", params={"steps": 5}, batch_class=1
    ),
}


class Hall:
    """A service without an API: jobs go straight to the ledger."""

    def __init__(self, servers: Any, folder: Path) -> None:
        self.settings = servers.settings
        self.ledger = Ledger.connect(self.settings)
        self.app = broker_app(self.settings)
        self._folder = folder
        self._numbers = itertools.count(1)
        self._jobs: list[str] = []
        self._workers: list[Worker] = []

    def submit(self, text: str, kind: str = "translate", model: str = "tiny") -> str:
        step = STEPS[kind].model_copy(update={"model": model})
        given = {"translate": {"text": text}, "generate": {"prompt": text, "seed": 1}}
        job = NewJob(
            id=new_id("job"),
            tenant="t",
            kind=kind,
            priority=Priority.INTERACTIVE,
            input=given[kind],
            steps=(step,),
            retention_s=1000,
        )
        self.ledger.submit(job)
        self._jobs.append(job.id)
        admit(self.app, self.ledger, [step.queue(job.priority)])
        return job.id

    def worker(self, family: str = "translator", ready: bool = True, **settings: Any) -> "Worker":
        worker = Worker(self, self._folder / f"{next(self._numbers)}.log", family, settings)
        self._workers.append(worker)
        if ready:
            until(worker.ready)
        return worker

    def status(self, job_id: str) -> JobStatus:
        return self.ledger.get(job_id).status

    def await_running(self, job_id: str) -> None:
        """Until the model is at work on it."""
        until(lambda: self.ledger.get(job_id).progress > 0)

    def await_success(self, *job_ids: str) -> None:
        for job_id in job_ids:
            until(lambda job_id=job_id: self.ledger.get(job_id).finished_at)
            assert self.status(job_id) is JobStatus.SUCCEEDED

    def released(self, job_id: str) -> bool:
        """Whether it waits for another worker, without a lease."""
        return self.ledger.get(job_id).steps[0].status is StepStatus.QUEUED

    def close(self) -> None:
        for job_id in self._jobs:
            self.ledger.cancel(job_id)
        for worker in self._workers:
            worker.close()


class Worker:
    """A worker process, with links of its own to the servers."""

    def __init__(self, hall: Hall, log: Path, family: str, settings: dict[str, Any]) -> None:
        self._ledger = hall.ledger
        self._log = log
        urls = {name: getattr(hall.settings, name) for name in ("ledger_url", "broker_url")}
        urls["s3_endpoint"] = hall.settings.s3_endpoint
        self.ledger, self.broker, self.s3 = self.links = [
            FaultProxy((str(urlsplit(url).hostname), int(urlsplit(url).port or 0)))
            for url in urls.values()
        ]
        values = {
            **{
                name: url.replace(f":{urlsplit(url).port}", f":{link.port}")
                for (name, url), link in zip(urls.items(), self.links, strict=True)
            },
            **{
                name: getattr(hall.settings, name)
                for name in ("s3_bucket", "s3_access_key", "s3_secret_key")
            },
            **settings,
        }
        parent = os.getpid()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", "--family", family],
                env={
                    **os.environ,
                    **{f"IMAGEMILL_{name.upper()}": str(value) for name, value in values.items()},
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: die_with_parent(parent),
            )

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log
        return self.process.pid in {worker.pid for worker in self._ledger.workers()}

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def terminate_twice(self) -> None:
        self.signal()
        until(lambda: "shutting down" in self.log)  # two at once would count as one
        self.signal()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for link in self.links:
            link.close()


@pytest.fixture
def hall(servers: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hall]:
    hall = Hall(servers, tmp_path)
    yield hall
    hall.close()
    for worker in hall._workers:  # shown with a test that fails
        print(f"--- {worker.process.args} {worker._log.name}\n{worker.log}")


@pytest.fixture
def go_on(tmp_path: Path) -> Path:
    """A file that scripted models may wait for."""
    return tmp_path / "go-on"


def hanging_upload(hall: Hall, worker: Worker) -> str:
    """A job whose picture is under way to an S3 that does not answer any more."""
    trap = worker.s3.trap(b"/image-0.png", worker.s3.pause)
    job = hall.submit("a cat", "generate")
    until(trap.sprung.is_set)
    return job


# The end


def test_a_step_that_ends_within_the_grace_is_let_end(hall: Hall) -> None:
    worker = hall.worker(shutdown_grace_s=60)
    job = hall.submit("do: sleep 3")
    hall.await_running(job)
    worker.signal()
    assert worker.wait() == 0
    assert hall.status(job) is JobStatus.SUCCEEDED
    assert hall.ledger.get(job).fence == 1
    assert worker.process.pid not in {each.pid for each in hall.ledger.workers()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_longer_one_goes_to_another_worker_at_once(hall: Hall, number: signal.Signals) -> None:
    first = hall.worker(shutdown_grace_s=60, lease_s=600)
    job = hall.submit("do: sleep 300")
    hall.await_running(job)
    hall.worker()
    first.signal(number)
    until(lambda: hall.ledger.get(job).fence == 2)
    assert first.wait() == 0
    hall.await_running(job)
    assert hall.ledger.get(job).steps[0].attempts == 1


def test_what_the_model_has_not_begun_is_released_at_once(hall: Hall, go_on: Path) -> None:
    worker = hall.worker("diffuser", shutdown_grace_s=600, lease_s=600)
    jobs = [hall.submit(f"do: wait {go_on}", "generate") for _ in range(2)]
    until(lambda: any(hall.ledger.get(job).progress for job in jobs))
    running, waiting = sorted(jobs, key=lambda job: -hall.ledger.get(job).progress)
    until(lambda: hall.ledger.get(waiting).fence == 1)
    worker.signal()
    until(lambda: hall.released(waiting))
    assert hall.status(running) is JobStatus.RUNNING
    go_on.touch()
    assert worker.wait() == 0
    assert hall.status(running) is JobStatus.SUCCEEDED


def test_a_deaf_model_is_not_waited_for(hall: Hall) -> None:
    worker = hall.worker(shutdown_grace_s=5, lease_s=600)
    job = hall.submit("do: hang 600")
    until(lambda: hall.ledger.get(job).fence == 1)
    worker.signal()
    assert worker.wait() == 0
    assert hall.released(job)


def test_an_upload_that_hangs_is_released_when_the_grace_is_over(hall: Hall) -> None:
    worker = hall.worker("diffuser", shutdown_grace_s=5, lease_s=600)
    job = hanging_upload(hall, worker)
    worker.signal()
    assert worker.wait() == 0
    assert hall.released(job)
    hall.worker("diffuser")
    hall.await_success(job)
    assert hall.ledger.get(job).steps[0].attempts == 1


def test_a_second_signal_releases_everything_at_once(hall: Hall) -> None:
    worker = hall.worker("diffuser", shutdown_grace_s=600, lease_s=600)
    uploading = hanging_upload(hall, worker)
    running = hall.submit("do: sleep 600", "generate")
    hall.await_running(running)
    worker.terminate_twice()
    assert worker.wait() == 0
    assert hall.released(uploading)
    assert hall.released(running)
    assert worker.process.pid not in {each.pid for each in hall.ledger.workers()}


@pytest.mark.parametrize("silent", [["broker"], ["ledger"], ["ledger", "broker", "s3"]])
def test_servers_that_hang_do_not_keep_the_worker(hall: Hall, silent: list[str]) -> None:
    worker = hall.worker(shutdown_grace_s=4)
    job = hall.submit("do: sleep 300")
    hall.await_running(job)
    for name in silent:
        getattr(worker, name).pause()
    time.sleep(1)  # so that its threads wait for an answer
    worker.signal()
    assert worker.wait() == 0


def test_a_message_that_comes_meanwhile_is_for_another_worker(hall: Hall, go_on: Path) -> None:
    worker = hall.worker(shutdown_grace_s=60)
    first = hall.submit(f"do: wait {go_on}")
    hall.await_running(first)
    worker.signal()
    until(lambda: "shutting down" in worker.log)
    later = [hall.submit("hello") for _ in range(3)]
    go_on.touch()
    assert worker.wait() == 0
    assert [hall.ledger.get(job).fence for job in later] == [0, 0, 0]
    hall.worker()
    hall.await_success(first, *later)


def test_a_rolling_restart_makes_nobody_wait(hall: Hall) -> None:
    workers = [hall.worker(lease_s=600) for _ in range(2)]
    jobs: list[str] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            jobs.append(hall.submit(f"do: sleep {0.2 + len(jobs) % 5 / 2}"))
            time.sleep(0.2)

    thread = threading.Thread(target=load)
    thread.start()
    for worker in workers:
        until(lambda: any(hall.status(job) is JobStatus.RUNNING for job in list(jobs)))
        worker.signal()
        assert worker.wait() == 0
        hall.worker(lease_s=600)
    done.set()
    thread.join()
    hall.await_success(*jobs)
    for job in map(hall.ledger.get, jobs):
        (step,) = job.steps
        assert step.attempts == 1
        assert (step.started_at or 0) - (step.queued_at or 0) < 300_000  # half a lease


# The beginning


def test_a_server_that_is_away_is_waited_for(hall: Hall) -> None:
    job = hall.submit("hello")
    worker = hall.worker(ready=False, ledger_url="redis://127.0.0.1:1/0")
    until(lambda: "waiting for a server" in worker.log)
    worker.signal()
    assert worker.wait() == 0
    worker = hall.worker(ready=False)
    worker.broker.refuse()
    until(lambda: "waiting for a server" in worker.log)
    assert hall.ledger.get(job).fence == 0
    worker.broker.heal()
    until(worker.ready)
    hall.await_success(job)


# Several workers


def test_a_job_goes_to_the_one_that_is_idle(hall: Hall) -> None:
    for _ in range(2):
        hall.worker("diffuser")
    long = hall.submit("do: sleep 600", "generate")
    hall.await_running(long)
    for number in range(8):
        time.sleep(0.11 * (number % 3))
        job = hall.submit(f"picture {number}", "generate")
        hall.await_success(job)
    assert hall.status(long) is JobStatus.RUNNING


def test_what_no_other_takes_the_busy_one_prepares(hall: Hall) -> None:
    """While its model tells nothing from which to see that it goes on for long."""
    hall.worker("diffuser")
    jobs = [hall.submit(what, "generate") for what in ("do: hang 600", "a cat", "a dog")]
    until(lambda: all(hall.ledger.get(job).fence == 1 for job in jobs))


# Several models


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A registry with sculptors of whom two are here, and two more translators."""
    for name in ("clay", "bronze", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "models.toml").write_text(
        f"""
[profiles]
here = {{ sculptor = "clay" }}
away = {{ sculptor = "marble" }}

[sculptor]
clay = {{ path = "{tmp_path}/clay" }}
bronze = {{ path = "{tmp_path}/bronze" }}
ice = {{ repo = "someone/ice" }}
marble = {{ repo = "someone/marble" }}

[painter]
oil = {{ repo = "someone/oil" }}

[translator.second]
path = "{tmp_path}/second"
memory_gb = 0.1

[translator.huge]
path = "{tmp_path}/second"
memory_gb = 5
"""
    )
    return tmp_path


def names(models_dir: Path, profile: str, *named: str, family: str = "sculptor") -> list[str]:
    settings = Settings(models_dir=models_dir, profile=profile)
    return [model.name for model, _ in served_models(family, named, settings)]


def test_a_worker_serves_the_profiles_model_and_what_else_is_here(models_dir: Path) -> None:
    assert names(models_dir, "here") == ["clay", "bronze"]
    assert names(models_dir, "away") == ["bronze", "clay"]


def test_a_worker_with_named_models_serves_exactly_those(models_dir: Path) -> None:
    assert names(models_dir, "here", "bronze", "clay") == ["bronze", "clay"]
    with pytest.raises(ModelNotAvailable, match="models pull marble"):
        names(models_dir, "here", "clay", "marble")


def test_a_worker_without_any_model_says_what_would_bring_one(models_dir: Path) -> None:
    with pytest.raises(ModelNotAvailable, match="models pull oil"):
        names(models_dir, "here", family="painter")
    with pytest.raises(ModelNotAvailable, match="the profile has no composer"):
        names(models_dir, "here", family="composer")


def test_other_models_are_loaded_when_a_job_names_them(hall: Hall, models_dir: Path) -> None:
    worker = hall.worker(models_dir=models_dir, memory_gb=0.15)  # for one of them

    def held() -> tuple[str, ...]:
        return next(w.held for w in hall.ledger.workers() if w.pid == worker.process.pid)

    assert held() == ("tiny",)
    hall.await_success(hall.submit("hello", model="second"))
    until(lambda: held() == ("second",))
    refused = hall.submit("hello", model="huge")
    until(lambda: hall.status(refused) is JobStatus.FAILED)
    error = hall.ledger.get(refused).error
    assert error
    assert error.code == "out_of_memory"
    assert "huge needs about 5.0 GB, the worker may use 0.1 GB" in error.message
    hall.await_success(hall.submit("hello"))
    until(lambda: held() == ("tiny",))


# What goes wrong in between


def test_a_worker_whose_consumer_is_stuck_ends_for_its_supervisor(hall: Hall) -> None:
    stuck = hall.worker(watchdog_s=3, lease_s=600)
    asked_again = threading.Event()
    trap = stuck.broker.trap(b"BRPOP", lambda: asked_again.wait(PATIENCE_S))
    until(trap._taken.locked)  # it asks for messages, and that goes nowhere
    job = hall.submit("hello")
    assert stuck.wait() == 70
    assert "messages wait" in stuck.log
    assert hall.ledger.get(job).fence == 0
    asked_again.set()
    hall.worker()
    hall.await_success(job)


def test_a_busy_worker_is_not_taken_for_stuck(hall: Hall, go_on: Path) -> None:
    """All slots are full of steps that end nothing, and messages wait."""
    worker = hall.worker(watchdog_s=2, lease_s=600)
    (record,) = [each for each in hall.ledger.workers() if each.pid == worker.process.pid]
    jobs = [hall.submit(f"do: wait {go_on}") for _ in range(record.slots + 3)]
    until(lambda: sum(hall.ledger.get(job).fence for job in jobs) == record.slots)
    time.sleep(5)
    assert worker.process.poll() is None
    go_on.touch()
    hall.await_success(*jobs)


def test_a_worker_whose_model_cannot_be_loaded_again_ends_for_its_supervisor(
    hall: Hall, tmp_path: Path
) -> None:
    vanished = tmp_path / "vanished"
    worker = hall.worker(vanished=vanished, max_attempts=2)
    vanished.touch()
    fatal, innocent = hall.submit("do: kill"), hall.submit("hello")
    assert worker.process.wait(PATIENCE_S) == 70
    assert {hall.status(job) for job in (fatal, innocent)} <= {JobStatus.QUEUED, JobStatus.RUNNING}
    vanished.unlink()
    hall.worker(max_attempts=2)
    hall.await_success(innocent)
    assert hall.ledger.get(innocent).steps[0].attempts == 1


def test_an_execution_whose_lease_was_lost_is_counted(hall: Hall, go_on: Path) -> None:
    first = hall.worker(lease_s=4)
    job = hall.submit(f"do: wait {go_on}")
    hall.await_running(job)
    hall.worker(lease_s=600)
    fenced = hall.ledger.counters().get("fenced", 0)
    first.signal(signal.SIGSTOP)
    try:
        until(lambda: hall.ledger.get(job).fence == 2)
    finally:
        first.signal(signal.SIGCONT)
    until(lambda: hall.ledger.counters().get("fenced", 0) == fenced + 1)
    assert "fenced" in first.log
    go_on.touch()
    hall.await_success(job)
    assert hall.ledger.counters()["fenced"] == fenced + 1


def test_a_worker_that_cannot_reach_the_ledger_hands_its_messages_on(hall: Hall) -> None:
    deaf = hall.worker()
    hall.worker()
    deaf.ledger.pause()
    until(lambda: deaf.process.pid not in {worker.pid for worker in hall.ledger.workers()})
    before = hall.ledger.counters()
    hall.await_success(*(hall.submit(f"text {number}") for number in range(8)))
    after = hall.ledger.counters()
    # Its connection to the broker is well, so that half of the messages came to it first.
    assert after.get("republished", 0) == before.get("republished", 0)
    assert after["claims"] == before.get("claims", 0) + 8


def test_a_worker_alone_reaps(hall: Hall, go_on: Path) -> None:
    """Nobody else is there to publish what a killed worker held."""
    killed = hall.worker(lease_s=3)
    job = hall.submit(f"do: wait {go_on}")
    hall.await_running(job)
    killed.signal(signal.SIGKILL)
    killed.wait()
    go_on.touch()
    hall.worker()
    hall.await_success(job)
    assert hall.ledger.get(job).steps[0].attempts == 2


@pytest.mark.parametrize(("long", "steps"), [(False, 12), (True, 4)])
def test_of_long_steps_a_worker_claims_no_more_than_one_batch(long: bool, steps: int) -> None:
    classes = BatchClasses(interactive=1, bulk=4)
    assert in_flight(Model(name="m", family="f", long=long, batch_class=classes)) == steps
