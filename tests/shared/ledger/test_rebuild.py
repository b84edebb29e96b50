"""Rebuild: after Redis lost everything, what S3 holds comes back, and work goes on."""

from itertools import count

import pytest

from shared.contracts import JobStatus
from shared.errors import NotFound, PredictionFailed
from shared.layout import manifest_key
from shared.ledger import verify
from shared.ledger.rebuild import FENCE_GAP, Rebuilder
from shared.queues import admit
from shared.settings import Settings
from shared.testing.ledger import MemoryLedger
from shared.testing.object_store import MemoryObjectStore
from tests.shared.ledger.system import HOWEVER_YOUNG, RETENTION_MS, System
from tests.shared.ledger.world import new_job


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAUSE_S", 0.01)


def rebuild(system: System, dry_run: bool = False) -> Rebuilder:
    rebuilder = Rebuilder(system.ledger, system.store, RETENTION_MS, dry_run)
    rebuilder.run()
    return rebuilder


def counts(rebuilder: Rebuilder) -> tuple[int, int, int]:
    return rebuilder.finished, rebuilder.queued, rebuilder.files


def keys(system: System) -> dict[str, str]:
    """Every key of the ledger's server, with what it holds."""
    return {key: system.client.dump(key) for key in sorted(system.client.scan_iter())}


def test_finished_jobs_come_back_as_they_were(system: System) -> None:
    file = system.upload()
    ids = [system.finish("captioner", "diffuser", files=(file.id,)) for _ in range(3)]
    failed = system.submit("captioner")
    system.ledger.fail(failed, 0, system.claim(failed), PredictionFailed("too dark"))
    canceled = system.submit("captioner", metadata={"note": "ü"}, deadline_s=600)
    system.ledger.cancel(canceled)
    system.save_all()
    before = {job_id: system.ledger.get(job_id) for job_id in (*ids, failed, canceled)}
    listed = [job.id for job in system.ledger.jobs("t").jobs]
    system.lose_redis()
    assert counts(rebuild(system)) == (5, 0, 1)
    assert {job_id: system.ledger.get(job_id) for job_id in before} == before
    assert [job.id for job in system.ledger.jobs("t").jobs] == listed
    assert [job.id for job in system.ledger.jobs("t", status=JobStatus.CANCELED).jobs] == [canceled]
    assert list(system.inconsistencies(orphan_s=HOWEVER_YOUNG, digests=True)) == []


def test_files_come_back_and_are_kept_no_shorter(system: System) -> None:
    file = system.upload()
    system.lose_redis()
    rebuild(system)
    found = system.ledger.get_file("t", file.id)
    times = {"created_at": found.created_at, "expires_at": found.expires_at}
    assert found == file.model_copy(update=times)
    assert abs(found.created_at - file.created_at) < 60_000
    assert found.expires_at >= file.expires_at - 1000  # S3's clock tells whole seconds
    system.ledger.delete_file("t", file.id)
    assert system.ledger.garbage() == [file.key]


def test_unfinished_jobs_run_again_from_where_they_were_saved(system: System) -> None:
    file = system.upload()
    waiting = system.submit("captioner", files=(file.id,))
    published = system.publish("captioner")
    between = system.publish("captioner", "diffuser")
    committed = system.work(between).steps[0]
    system.save_all()
    leased = system.publish("captioner")
    system.save_all()
    system.claim(leased)
    system.lose_redis()
    assert counts(rebuild(system)) == (0, 4, 1)
    assert system.ledger.get(between).steps[0] == committed
    assert system.ledger.get(between).current == 1
    assert list(system.inconsistencies(orphan_s=HOWEVER_YOUNG)) == []
    system.ledger.delete_file("t", file.id)
    assert system.ledger.garbage() == []  # a job needs it
    admit(system.app, system.ledger, system.ledger.queues())
    for job_id in (waiting, published, between, leased):
        assert system.work(job_id).status is JobStatus.SUCCEEDED
    assert system.ledger.garbage() == [file.key]


def test_they_are_queued_in_the_order_of_submission(system: System) -> None:
    numbers = count(9, -1)  # ids in another order than submissions
    ids = [system.submit("captioner", id=f"job_{next(numbers)}") for _ in range(5)]
    system.save_all()
    positions = [system.ledger.get(job_id).created_at for job_id in ids]
    for i, job_id in enumerate(ids):  # not all in one millisecond
        system.client.hset(f"job:{job_id}", "created_at", positions[0] + i)
        system.ledger.saved(system.ledger.get(job_id).model_copy(update={"version": 0}))
    system.save_all()
    system.lose_redis()
    rebuild(system)
    assert [system.ledger.queue_position(system.ledger.get(job_id)) for job_id in ids] == [
        *range(5)
    ]


def test_a_late_holder_of_the_lost_life_is_fenced(system: System) -> None:
    job_id = system.publish("captioner")
    system.save_all()
    stale = system.claim(job_id)
    for _ in range(2):  # claims after the last manifest
        system.ledger.release(job_id, 0, stale)
        stale = system.claim(job_id)
    late = system.produce(job_id, stale)
    system.lose_redis()
    rebuild(system)
    assert system.ledger.get(job_id).fence == stale + FENCE_GAP
    assert system.ledger.renew(job_id, 0, stale) == "lost"
    assert system.ledger.commit(job_id, 0, stale, late) == "fenced"
    fence = system.claim(job_id)
    assert fence > stale + FENCE_GAP
    assert system.ledger.commit(job_id, 0, stale, late) == "fenced"
    assert system.ledger.commit(job_id, 0, fence, system.produce(job_id, fence)) == "succeeded"
    assert system.ledger.counters()["commits"] == 1


def test_an_idempotency_key_still_stands_for_its_job(system: System) -> None:
    job_id = system.submit("captioner", idempotency=("key", "digest"))
    done = system.finish("captioner", idempotency=("another", "digest"))
    system.save_all()
    system.lose_redis()
    rebuild(system)
    for key, wanted in (("key", job_id), ("another", done)):
        submitted = system.ledger.submit(new_job("captioner"), (key, "digest"))
        assert (submitted.job_id, submitted.created) == (wanted, False)


def test_what_is_there_is_left_alone(system: System) -> None:
    system.upload()
    system.finish("captioner", files=("file_1",))
    system.submit("captioner")
    system.save_all()
    system.lose_redis()
    fresh = system.finish("captioner")
    system.submit("captioner")
    assert counts(rebuild(system)) == (1, 1, 1)
    system.save_all()
    before = keys(system)
    assert counts(rebuild(system)) == (0, 0, 0)
    assert keys(system) == before
    assert system.ledger.get(fresh).fence == 1


def test_a_dry_run_changes_nothing_and_says_what_would_be(system: System) -> None:
    system.upload()
    system.finish("captioner")
    system.submit("captioner")
    system.save_all()
    system.lose_redis()
    assert counts(rebuild(system, dry_run=True)) == (1, 1, 1)
    assert keys(system) == {}
    rebuild(system)
    assert counts(rebuild(system, dry_run=True)) == (0, 0, 0)


def test_what_cannot_be_read_is_named_and_the_rest_comes_back(system: System) -> None:
    damaged, foreign, good = (system.finish("captioner") for _ in range(3))
    system.save_all()
    text = system.store.get(manifest_key(damaged))
    system.store.put(manifest_key(damaged), text[:100], "application/json")
    system.store.put(manifest_key(foreign), text, "application/json")
    system.store.put("files/t/file_1/0a1b2c", b"x", "image/png")
    system.store.put("jobs/job_lost/0-step/a1/image.png", b"x", "image/png")
    system.lose_redis()
    rebuilder = rebuild(system)
    assert counts(rebuilder) == (1, 0, 0)
    unreadable = {manifest_key(damaged), manifest_key(foreign), "files/t/file_1/0a1b2c"}
    assert set(rebuilder.unreadable) == unreadable
    assert len(rebuilder.unreadable) == 3
    assert system.ledger.get(good).status is JobStatus.SUCCEEDED
    for job_id in (damaged, foreign, "job_lost"):
        with pytest.raises(NotFound):
            system.ledger.get(job_id)


def test_only_a_whole_rebuild_lets_orphans_be_collected(system: System) -> None:
    job_id = system.finish("captioner")
    system.save_all()
    text = system.store.get(manifest_key(job_id))
    system.store.put(manifest_key(job_id), b"{", "application/json")
    system.lose_redis()
    rebuild(system)
    assert system.ledger.knows_since() > 0
    system.store.put(manifest_key(job_id), text, "application/json")
    rebuild(system, dry_run=True)
    assert system.ledger.knows_since() > 0
    rebuild(system)
    assert system.ledger.knows_since() == 0


def test_the_twins_rebuild_the_same_way(settings: Settings) -> None:
    old, new, store = MemoryLedger(settings), MemoryLedger(settings), MemoryObjectStore()
    job = new_job("captioner")
    old.submit(job)
    record = old.get(job.id)
    store.put(manifest_key(job.id), record.model_dump_json().encode(), "application/json")
    rebuilder = Rebuilder(new, store, RETENTION_MS)
    rebuilder.run()
    assert counts(rebuilder) == (0, 1, 0)
    assert new.get(job.id).fence == FENCE_GAP


# The command


def test_the_command_says_what_it_did(system: System) -> None:
    system.upload()
    system.finish("captioner")
    system.submit("captioner")
    system.save_all()
    system.lose_redis()
    would = system.command("rebuild", "--dry-run")
    assert (would.returncode, would.stderr) == (0, "")
    assert would.stdout == (
        "would restore 1 finished jobs, queue 1 again, 1 files, 0 batches; 0 could not be read\n"
    )
    did = system.command("rebuild")
    assert (did.returncode, did.stderr) == (0, "")
    assert did.stdout == (
        "restored 1 finished jobs, queued 1 again, 1 files, 0 batches; 0 could not be read\n"
    )
    system.store.put("jobs/job_1/manifest.json", b"{", "application/json")
    failed = system.command("rebuild")
    assert (failed.returncode, failed.stderr) == (1, "")
    assert failed.stdout == (
        "cannot read jobs/job_1/manifest.json\n"
        "restored 0 finished jobs, queued 0 again, 0 files, 0 batches; 1 could not be read\n"
    )
