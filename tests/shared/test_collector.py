"""The collector: what it saves and erases, and what it must never take for an orphan."""

import contextlib
from collections.abc import Callable, Iterable

import pytest
import redis
from botocore.exceptions import ClientError

from shared import collector as module
from shared.collector import ORPHAN_TURN_S, SAVE_AFTER_S, Collector
from shared.contracts import Artifact, BatchPlace, ItemOutput, JobRecord, StepOutput
from shared.errors import NotFound, StorageUnavailable
from shared.layout import batch_manifest_key, manifest_key, results_key
from shared.ledger import Ledger
from shared.manifest import save
from shared.object_store import ObjectStore, S3ObjectStore
from shared.settings import Settings
from shared.testing.object_store import MemoryObjectStore
from tests.shared.ledger.world import START_MS, World, new_batch, new_file, new_job
from tests.waiting import until

ORPHAN_MS = 7_200_000
BUCKET = "collector-tests"


class Store(MemoryObjectStore):
    """By the test's clock; `broken_after` deletions it goes down."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: START_MS + self.passed_ms)
        self.passed_ms = 0
        self.broken_after = 10**9

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.down = self.down or self.broken_after <= 0
            self.broken_after -= 1
            super().delete([key])

    @property
    def keys(self) -> set[str]:
        return {key for _, key in self.objects}

    def write(self, *keys: str) -> None:
        for key in keys:
            self.put(key, b"x", "text/plain")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def collector(world: World, store: Store, settings: Settings) -> Collector:
    return Collector(world.ledger, store, settings)


@pytest.fixture
def wait(world: World, store: Store) -> Callable[[int], None]:
    """Let time pass for the ledger and for S3."""

    def advance(ms: int) -> None:
        world.advance(ms)
        store.passed_ms += ms

    return advance


@pytest.fixture
def patrol(collector: Collector, wait: Callable[[int], None]) -> Callable[[], None]:
    """Let everything grow old enough for an orphan, and sweep."""

    def sweep() -> None:
        wait(ORPHAN_MS + 1)
        collector.sweep()

    return sweep


def artifact(job_id: str, fence: int, step: int = 0, name: str = "captioner-step") -> str:
    return f"jobs/{job_id}/{step}-{name}/a{fence}/image.png"


def with_picture(key: str) -> StepOutput:
    picture = Artifact(name="image.png", key=key, media_type="image/png", sha256="0" * 64, bytes=1)
    return StepOutput(artifacts=(picture,))


def finished(world: World, store: Store, **fields: object) -> str:
    """A job that succeeded, with one artifact and its manifest."""
    job_id, fence = world.lease("captioner", **fields)
    store.write(artifact(job_id, fence))
    world.ledger.commit(job_id, 0, fence, with_picture(artifact(job_id, fence)))
    save(world.ledger, store, job_id)
    return job_id


# Manifests


def test_a_job_is_saved_when_its_worker_did_not(
    collector: Collector, world: World, store: Store
) -> None:
    job_id = world.finish("captioner")
    collector.sweep()
    assert store.keys == set()  # the worker may be about to
    world.advance(int(SAVE_AFTER_S * 1000))
    assert collector.sweep() is False
    assert JobRecord.model_validate_json(store.get(manifest_key(job_id))) == world.job(job_id)
    assert world.ledger.unsaved(0) == []


def test_what_one_sweep_saves_is_bounded(
    collector: Collector, world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVED", 2)
    for _ in range(3):
        world.finish("captioner")
    world.advance(int(SAVE_AFTER_S * 1000))
    assert collector.sweep() is True
    assert len(store.keys) == 2
    assert collector.sweep() is False
    assert len(store.keys) == 3


def test_while_storage_is_away_manifests_wait(
    collector: Collector, world: World, store: Store
) -> None:
    job_id = world.finish("captioner")
    world.advance(int(SAVE_AFTER_S * 1000))
    store.down = True
    with pytest.raises(StorageUnavailable):
        collector.sweep()
    assert world.ledger.unsaved(0) == [job_id]
    store.down = False
    collector.sweep()
    assert world.ledger.unsaved(0) == []


def test_one_bad_record_does_not_keep_the_others(
    settings: Settings, ledger_client: redis.Redis, store: Store
) -> None:
    ledger = Ledger.connect(settings)
    bad, good = (ledger.submit(new_job("captioner")).job_id for _ in range(2))
    ledger_client.hset(f"job:{bad}", "steps", "nonsense")
    ledger_client.zadd("unsaved", {bad: 0, good: 1})
    Collector(ledger, store, settings).sweep()
    assert store.keys == {manifest_key(good)}


# Garbage


def test_deleted_jobs_and_files_are_erased(
    collector: Collector, world: World, store: Store
) -> None:
    file = world.ledger.put_file(new_file())
    store.write(file.key)
    gone, kept = finished(world, store, files=(file.id,)), finished(world, store)
    world.ledger.delete(gone)
    world.ledger.delete_file("t", file.id)
    assert collector.sweep() is False
    assert store.keys == {artifact(kept, 1), manifest_key(kept)}
    assert world.ledger.garbage() == []


def test_a_manifest_goes_before_all_else(collector: Collector, world: World, store: Store) -> None:
    job_id = finished(world, store)
    world.ledger.delete(job_id)
    store.broken_after = 1
    with pytest.raises(StorageUnavailable):
        collector.sweep()
    assert store.keys == {artifact(job_id, 1)}
    assert world.ledger.garbage() != []
    store.down, store.broken_after = False, 10**9
    collector.sweep()
    assert (store.keys, world.ledger.garbage()) == (set(), [])


def test_a_large_job_is_erased_in_parts(
    collector: Collector, world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ERASED", 3)
    large, small = finished(world, store), finished(world, store)
    store.write(*(f"jobs/{large}/0-captioner-step/a1/image-{i}.png" for i in range(7)))
    for job_id in (large, small):
        world.ledger.delete(job_id)
    assert collector.sweep() is True
    assert (len(store.keys), world.ledger.garbage()) == (5, [f"jobs/{large}/"])
    while collector.sweep():
        assert store.keys
    assert (store.keys, world.ledger.garbage()) == (set(), [])


def test_what_was_kept_long_enough_goes(collector: Collector, world: World, store: Store) -> None:
    short, long = (finished(world, store, retention_s=s) for s in (60, 3600))
    world.advance(60_000)
    collector.sweep()
    assert store.keys == {artifact(long, 1), manifest_key(long)}
    with pytest.raises(NotFound):
        world.ledger.get(short)


# Orphans


def test_the_picture_of_a_lost_attempt_is_collected(
    world: World, store: Store, patrol: Callable[[], None], settings: Settings
) -> None:
    job_id, lost = world.lease("captioner", retention_s=10**6)
    store.write(artifact(job_id, lost))
    patrol()
    assert artifact(job_id, lost) in store.keys  # it is the live fence, and may be committed
    world.ledger.reap([])  # the lease ran out long ago
    world.ledger.admit(world.queue(job_id))
    fence = world.claim(job_id).fence
    store.write(artifact(job_id, fence))
    patrol()
    assert store.keys == {manifest_key(job_id), artifact(job_id, fence)}
    world.ledger.commit(job_id, 0, fence, with_picture(artifact(job_id, fence)))
    patrol()
    assert store.keys == {manifest_key(job_id), artifact(job_id, fence)}


def test_the_live_folder_is_told_from_those_that_begin_like_it(
    world: World, store: Store, patrol: Callable[[], None]
) -> None:
    job_id, fence = world.lease("captioner", "diffuser")
    world.ledger.commit(job_id, 0, fence, with_picture(artifact(job_id, fence)))
    live = world.claim(job_id, 1).fence
    kept = {artifact(job_id, fence), artifact(job_id, live, 1, "diffuser-step")}
    lost = {artifact(job_id, 10 * live, 1, "diffuser-step"), artifact(job_id, live)}
    store.write(*kept, *lost, f"jobs/{job_id}/notes.txt")
    patrol()
    assert store.keys == {*kept, manifest_key(job_id)}


def test_savepoints_and_the_preview_are_kept_as_long_as_their_step_may_use_them(
    world: World, store: Store, patrol: Callable[[], None]
) -> None:
    job_id, fence = world.lease("captioner", "diffuser", retention_s=10**6)
    folder = f"jobs/{job_id}/0-captioner-step/"
    saved = {f"{folder}savepoint/a{fence}-head", f"{folder}savepoint/a{fence}.json"}
    preview = f"{folder}a{fence}/preview.jpg"
    store.write(*saved, preview)
    patrol()
    assert store.keys == {*saved, preview, manifest_key(job_id)}
    world.ledger.reap([])  # nobody holds the step now, and whoever takes it goes on from these
    world.ledger.admit(world.queue(job_id))
    patrol()
    assert {*saved, manifest_key(job_id)} <= store.keys
    fence = world.claim(job_id).fence
    patrol()
    assert store.keys == {*saved, manifest_key(job_id)}
    world.ledger.commit(job_id, 0, fence, with_picture(artifact(job_id, fence)))
    patrol()
    assert store.keys == {manifest_key(job_id)}


def test_of_an_ended_job_only_what_was_committed_stays(
    world: World, store: Store, patrol: Callable[[], None]
) -> None:
    job_id, fence = world.lease("captioner", retention_s=10**6)
    store.write(artifact(job_id, fence))
    world.ledger.cancel(job_id)
    world.ledger.release(job_id, 0, fence)
    patrol()
    assert store.keys == {manifest_key(job_id)}


def test_what_is_young_is_never_touched(
    world: World, store: Store, collector: Collector, wait: Callable[[int], None]
) -> None:
    world.submit()
    wait(ORPHAN_MS)
    store.write("jobs/job_unknown/0-caption/a1/image.png", "files/t/file_unknown/a")
    wait(ORPHAN_MS)
    collector.sweep()
    assert len(store.keys - {key for key in store.keys if "manifest" in key}) == 2
    wait(int(ORPHAN_TURN_S * 1000))
    collector.sweep()
    assert all("manifest" in key for key in store.keys)


def test_a_late_upload_into_an_erased_job_is_collected(
    world: World, store: Store, collector: Collector, patrol: Callable[[], None]
) -> None:
    job_id = finished(world, store, retention_s=10**6)
    patrol()  # so that the ledger knows for longer than anything after this is old
    world.ledger.delete(job_id)
    collector.sweep()
    late = {artifact(job_id, 2), manifest_key(job_id)}
    store.write(*late)
    collector.sweep()
    assert late <= store.keys
    patrol()
    assert not late & store.keys


def test_after_a_loss_of_the_ledger_nothing_old_is_an_orphan(
    world: World, store: Store, patrol: Callable[[], None], wait: Callable[[int], None]
) -> None:
    store.write("jobs/job_lost/manifest.json", "files/t/file_lost/a")
    wait(ORPHAN_MS)
    world.submit()  # the first word to a ledger that lost everything
    store.write("jobs/job_late/0-caption/a1/image.png")  # by a worker that lived on
    before = set(store.keys)
    for _ in range(3):
        patrol()
    assert before <= store.keys
    world.ledger.knows_everything()  # a rebuild has put back what there was
    patrol()
    assert not before & store.keys


def test_files(world: World, store: Store, patrol: Callable[[], None]) -> None:
    kept, needed, gone = (
        world.ledger.put_file(new_file(f"file_{i}", key=f"files/t/file_{i}/a", expires_at=10**9))
        for i in range(3)
    )
    job_id = world.submit("captioner", files=(needed.id,))
    for file in (needed, gone):
        world.ledger.delete_file("t", file.id)
    store.write(kept.key, needed.key, gone.key)
    patrol()  # as above
    second = f"{kept.key}-second"
    store.write(second, "files/t/file_unknown/a")
    patrol()
    assert store.keys == {kept.key, needed.key, manifest_key(job_id)}


def test_batches(
    collector: Collector,
    world: World,
    store: Store,
    wait: Callable[[int], None],
    patrol: Callable[[], None],
) -> None:
    world.ledger.knows_since()
    wait(ORPHAN_MS)
    kept, deleted = (world.ledger.create_batch(new_batch()).job_id for _ in range(2))
    shards = [results_key(batch_id, 0, 1) for batch_id in (kept, deleted, "batch_unknown")]
    store.write(*shards, batch_manifest_key(deleted))
    patrol()
    assert store.keys == {*shards[:2], batch_manifest_key(deleted)}
    world.ledger.delete_batch(deleted)
    store.broken_after = 1  # the manifest goes before all else
    with pytest.raises(StorageUnavailable):
        collector.sweep()
    assert store.keys == set(shards[:2])
    store.down, store.broken_after = False, 10**9
    collector.sweep()
    assert (store.keys, world.ledger.garbage()) == ({shards[0]}, [])


def test_the_pictures_of_a_chunk_are_kept_until_it_is_closed(
    world: World, store: Store, wait: Callable[[int], None], patrol: Callable[[], None]
) -> None:
    world.ledger.knows_since()
    wait(ORPHAN_MS)
    batch_id = world.ledger.create_batch(new_batch()).job_id
    world.ledger.indexed(batch_id, 1, 1, 1)
    opened = world.ledger.open_chunk(batch_id, 1)
    assert opened
    place = BatchPlace(batch_id=batch_id, chunk=opened[0], opening=opened[1].opening)
    job_id, fence = world.lease("captioner", batch=place)
    picture = artifact(job_id, fence) + "/0/image.png"
    items = (ItemOutput(number=0, artifacts=with_picture(picture).artifacts),)
    store.write(picture)
    world.ledger.commit(job_id, 0, fence, StepOutput(items=items))
    save(world.ledger, store, job_id)  # does nothing
    patrol()
    assert store.keys == {picture}
    world.ledger.close_chunk(batch_id, place.chunk, place.opening, 1, 0, {})
    patrol()
    assert store.keys == set()


def test_trained_models_are_kept(store: Store, patrol: Callable[[], None]) -> None:
    store.write("models/panorama/alps/model.json")
    patrol()
    assert store.keys == {"models/panorama/alps/model.json"}


def test_the_scan_goes_round_a_page_a_turn(
    world: World,
    store: Store,
    collector: Collector,
    wait: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    world.ledger.knows_everything()
    kept = {f"files/t/file_{i}/a" for i in range(4)}
    for key in kept:
        world.ledger.put_file(new_file(key.split("/")[2], key=key, expires_at=10**9))
    last, first = "files/t/file_9/a", "files/t/file_0/b"
    store.write(*kept, last)
    wait(ORPHAN_MS + 1)
    collectors = [collector, Collector(world.ledger, store, settings)]
    for found in (kept | {last}, kept | {last}, kept):
        for each in collectors:  # one of them gets the turn
            each.sweep()
        assert store.keys == found
        wait(int(ORPHAN_TURN_S * 1000))
    store.write(first)
    wait(ORPHAN_MS + 1)
    collector.sweep()
    assert store.keys == kept


# With a real S3 server


def test_a_real_bucket_is_kept_in_step(
    settings: Settings, ledger_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ERASED", 3)
    settings = settings.model_copy(update={"s3_bucket": BUCKET, "orphan_s": 0.5})
    store: ObjectStore = S3ObjectStore(settings, retry_s=5)
    with contextlib.suppress(ClientError):  # it is there
        S3ObjectStore(settings)._client().create_bucket(Bucket=BUCKET)
    store.delete([entry.key for entry in store.list("")])
    ledger = Ledger.connect(settings)
    ledger.knows_everything()
    kept, gone = (ledger.submit(new_job("captioner")).job_id for _ in range(2))
    for job_id in (kept, gone, "job_unknown"):
        for i in range(5):
            store.put(artifact(job_id, i), b"x", "text/plain")
        store.put(manifest_key(job_id), b"x", "text/plain")
    ledger.delete(gone)
    wanted = {manifest_key(kept), artifact(kept, 0)}
    collector = Collector(ledger, store, settings)

    def swept() -> bool:
        collector.sweep()
        return not ledger.garbage() and {entry.key for entry in store.list("")} == wanted

    until(swept)
