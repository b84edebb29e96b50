"""Jobs whose manifest is behind: which they are, and when they are no longer."""

import pytest

from shared.contracts import JobRecord
from shared.errors import NotFound, StorageUnavailable
from shared.layout import job_folder, manifest_key
from shared.manifest import save
from shared.testing.object_store import MemoryObjectStore
from tests.shared.ledger.world import World, output


def saved(world: World, job_id: str) -> None:
    world.ledger.saved(world.job(job_id))


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


def test_a_job_is_unsaved_from_its_submission_on(world: World) -> None:
    first = world.submit()
    world.advance(3_000)
    second = world.submit()
    assert world.ledger.unsaved(5) == []
    world.advance(2_000)
    assert world.ledger.unsaved(5) == [first]
    assert world.ledger.unsaved(0) == [first, second]
    assert world.ledger.unsaved(0, limit=1) == [first]
    saved(world, first)
    saved(world, first)
    assert world.ledger.unsaved(0) == [second]


def test_commits_and_the_end_are_changes_and_nothing_between(world: World) -> None:
    job_id, fence = world.lease("captioner", "diffuser")
    saved(world, job_id)
    world.ledger.renew(job_id, 0, fence, 0.5, "drawing")
    assert world.ledger.unsaved(0) == []
    for step in (0, 1):
        before = world.job(job_id).version
        fence = fence if step == 0 else world.claim(job_id, step).fence
        world.ledger.commit(job_id, step, fence, output())
        assert world.ledger.commit(job_id, step, fence, output()) == "already"
        assert world.job(job_id).version == before + 1
        assert world.ledger.unsaved(0) == [job_id]
        saved(world, job_id)
        assert world.ledger.unsaved(0) == []


def test_a_later_change_does_not_make_the_wait_shorter(world: World) -> None:
    job_id = world.submit()
    world.advance(4_000)
    world.ledger.cancel(job_id)
    world.advance(1_000)
    assert world.ledger.unsaved(5) == [job_id]


def test_a_job_that_changed_while_it_was_saved_waits_anew(world: World) -> None:
    job_id, fence = world.lease()
    older = world.job(job_id)
    world.advance(5_000)
    world.ledger.commit(job_id, 0, fence, output())
    world.ledger.saved(older)
    assert world.ledger.unsaved(1) == []
    assert world.ledger.unsaved(0) == [job_id]
    saved(world, job_id)
    assert world.ledger.unsaved(0) == []


@pytest.mark.parametrize("slow_is_told_last", [True, False])
def test_of_two_savers_with_different_versions_neither_is_believed(
    world: World, slow_is_told_last: bool
) -> None:
    job_id, fence = world.lease()
    older = world.job(job_id)
    world.ledger.commit(job_id, 0, fence, output())
    newer = world.job(job_id)
    # The slow one's object came last and lies over the newer one, whoever is heard first.
    told = (newer, older) if slow_is_told_last else (older, newer)
    for record in told:
        world.ledger.saved(record)
    assert world.ledger.unsaved(0) == [job_id]
    saved(world, job_id)
    assert world.ledger.unsaved(0) == []


def test_the_manifest_is_the_whole_record(world: World, store: MemoryObjectStore) -> None:
    job = world.finish("captioner", deadline_s=50, metadata={"é": [1]})
    save(world.ledger, store, job)
    text = store.get(manifest_key(job))
    assert JobRecord.model_validate_json(text) == world.job(job)
    assert world.ledger.unsaved(0) == []
    save(world.ledger, store, job)
    assert store.get(manifest_key(job)) == text


def test_a_manifest_that_comes_after_the_erasure_is_garbage(world: World) -> None:
    job_id = world.finish()
    late = world.job(job_id)
    world.ledger.delete(job_id)
    for key in world.ledger.garbage():
        world.ledger.erased(key)
    world.ledger.nothing_to_save(job_id)
    assert world.ledger.garbage() == []
    world.ledger.saved(late)
    assert world.ledger.garbage() == [job_folder(job_id)]


def test_a_manifest_that_comes_after_the_ledger_was_lost_is_kept(world: World) -> None:
    """A rebuild needs it."""
    late = world.job(world.finish()).model_copy(update={"id": "job_of_another_life"})
    world.ledger.saved(late.model_copy(update={"created_at": world.ledger.knows_since() - 1}))
    assert world.ledger.garbage() == []


def test_what_storage_refuses_stays_unsaved(world: World, store: MemoryObjectStore) -> None:
    job_id = world.submit()
    store.down = True
    with pytest.raises(StorageUnavailable):
        save(world.ledger, store, job_id)
    assert world.ledger.unsaved(0) == [job_id]


def test_a_deleted_job_is_not_saved(world: World, store: MemoryObjectStore) -> None:
    erased, (erasing, fence) = world.submit(), world.lease()
    for job_id in (erased, erasing):
        world.ledger.delete(job_id)
    assert world.ledger.unsaved(0) == [erasing]
    for job_id in (erased, erasing, "job_absent"):
        save(world.ledger, store, job_id)
    assert store.objects == {}
    assert world.ledger.unsaved(0) == []
    assert world.ledger.commit(erasing, 0, fence, output()) == "canceled"
    assert world.ledger.unsaved(0) == []
    with pytest.raises(NotFound):
        world.ledger.get(erasing)
