"""Rebuild: after Redis lost everything, batches go on where their results in S3 end."""

import pytest

from shared.batches import BatchCounts, BatchStatus
from shared.closings import closings
from shared.errors import NotFound
from shared.layout import batch_manifest_key, errors_key
from shared.ledger import verify
from shared.ledger.rebuild import Rebuilder
from tests.shared.ledger.system import HOWEVER_YOUNG, RETENTION_MS, System


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAUSE_S", 0.01)


def rebuild(system: System, dry_run: bool = False) -> Rebuilder:
    system.lose_redis()
    rebuilder = Rebuilder(system.ledger, system.store, RETENTION_MS, dry_run)
    rebuilder.run()
    return rebuilder


def test_batches_go_on_where_their_results_end(system: System) -> None:
    ids = [system.batch([], ["poison", "poison", "invalid_image"]) for _ in range(2)]
    assert rebuild(system, dry_run=True).batches == 2
    assert system.ledger.active_batches() == []
    assert rebuild(system).batches == 2
    assert system.ledger.active_batches() == ids
    back = system.ledger.batch(ids[0])
    assert back.counts == BatchCounts(total=256, completed=125, failed=3)
    assert back.error_codes == {"poison": 2, "invalid_image": 1}
    assert (back.open, back.next_chunk, back.status) == ({}, 2, BatchStatus.IN_PROGRESS)
    assert [system.close_next(ids[0], []) for _ in range(2)] == [2, 3]
    assert list(system.inconsistencies()) == []


def test_an_ended_batch_comes_back_as_it_was(system: System) -> None:
    batch_id = system.batch(["poison"])
    system.ledger.delete(next(iter(system.ledger.batch(batch_id).open.values())).jobs[0])
    system.ledger.cancel_batch(batch_id)
    chunk, opened = next(iter(system.ledger.batch(batch_id).open.items()))
    system.ledger.close_chunk(batch_id, chunk, opened.opening, 0, 0, {})
    ended = system.ledger.finished(batch_id, "file_out", "file_errors")
    system.save_batch(batch_id)
    assert rebuild(system).batches == 1
    assert system.ledger.batch(batch_id) == ended.model_copy(update={"next_chunk": 1})
    assert system.ledger.batches("t").batches[0].id == batch_id


def test_what_cannot_be_read_is_named_and_done_again(system: System) -> None:
    damaged, half = system.batch(), system.batch(["poison"], ["poison"])
    system.store.put(batch_manifest_key(damaged), b"{", "application/json")
    errors = errors_key(half, 0, closings(system.store, half)[0])
    system.store.put(errors, b"[]\n", "application/jsonl")
    rebuilder = rebuild(system)
    assert set(rebuilder.unreadable) == {batch_manifest_key(damaged), errors}
    assert system.ledger.batch(half).redo == 1
    assert system.close_next(half, []) == 0
    with pytest.raises(NotFound):
        system.ledger.batch(damaged)


def test_verify_is_silent_after_a_rebuild_and_knows_what_is_left(system: System) -> None:
    batch_id = system.batch([])
    rebuild(system)
    assert list(system.inconsistencies(orphan_s=HOWEVER_YOUNG)) == []
    system.ledger.delete_batch(batch_id)
    assert list(system.inconsistencies(orphan_s=HOWEVER_YOUNG)) == []
    system.ledger.erased(f"batches/{batch_id}/")
    left = list(system.inconsistencies(orphan_s=HOWEVER_YOUNG))
    assert f"{batch_manifest_key(batch_id)}: nothing in the ledger refers to it" in left


def test_a_batch_at_work_keeps_its_files_after_a_rebuild(system: System) -> None:
    file = system.upload()
    batch_id = system.batch([], files=(file.id,))
    rebuild(system)
    system.ledger.delete_file("t", file.id)
    assert system.ledger.batch(batch_id).files == (file.id,)
    assert system.ledger.file_key(file.id)[0] == file.key
    assert list(system.inconsistencies()) == []
