"""Uploads: kept while a job needs them, garbage afterwards."""

import pytest

from shared.errors import NotFound
from tests.shared.ledger.world import START_MS, World, new_batch, new_file, output


def test_an_upload_is_recorded(world: World) -> None:
    file = new_file(width=None, height=None, media_type="application/jsonl")
    put = world.ledger.put_file(file)
    assert put == world.ledger.get_file("t", file.id)
    assert put == file.model_copy(
        update={"created_at": START_MS, "expires_at": START_MS + 3_600_000}
    )
    assert world.ledger.file_key(file.id) == (file.key, file.sha256, file.bytes)


def test_the_same_upload_keeps_its_record_and_lives_longer(world: World) -> None:
    first = world.ledger.put_file(new_file())
    world.advance(1_000)
    second = world.ledger.put_file(new_file())
    assert second == first.model_copy(update={"expires_at": first.expires_at + 1_000})


def test_files_are_their_tenants_own(world: World) -> None:
    world.ledger.put_file(new_file())
    with pytest.raises(NotFound):
        world.ledger.get_file("u", "file_1")
    with pytest.raises(NotFound):
        world.ledger.delete_file("u", "file_1")
    assert world.ledger.get_file("t", "file_1").id == "file_1"


def test_several_files_at_once(world: World) -> None:
    here, gone = new_file("file_1", filename="عربي.jsonl"), new_file("file_2")
    for file in (here, gone):
        world.ledger.put_file(file)
    world.ledger.delete_file("t", gone.id)
    found = world.ledger.files("t", ["file_1", "file_2", "file_3"])
    assert {file_id: file.filename for file_id, file in found.items()} == {"file_1": here.filename}
    assert world.ledger.files("u", ["file_1"]) == world.ledger.files("t", []) == {}


def test_an_unused_file_is_garbage_once_deleted(world: World) -> None:
    file = world.ledger.put_file(new_file())
    world.ledger.delete_file("t", file.id)
    assert world.ledger.garbage() == [file.key]
    for call in (world.ledger.get_file, world.ledger.delete_file):
        with pytest.raises(NotFound):
            call("t", file.id)
    with pytest.raises(NotFound):
        world.ledger.file_key(file.id)


def test_a_deleted_file_stays_until_the_last_job_that_needs_it_has_ended(world: World) -> None:
    file = world.ledger.put_file(new_file())
    first, fence = world.lease("captioner", files=(file.id, file.id))
    second = world.submit(files=(file.id,))
    world.ledger.delete_file("t", file.id)
    with pytest.raises(NotFound):
        world.ledger.get_file("t", file.id)
    with pytest.raises(NotFound):
        world.submit(files=(file.id,))
    assert world.ledger.file_key(file.id)[0] == file.key
    world.ledger.cancel(second)
    assert world.ledger.file_key(file.id)[0] == file.key
    assert world.ledger.garbage() == []
    world.ledger.commit(first, 0, fence, output())
    assert world.ledger.garbage() == [file.key]
    with pytest.raises(NotFound):
        world.ledger.file_key(file.id)


def test_a_file_in_use_outlives_jobs_that_end_while_it_is_not_deleted(world: World) -> None:
    file = world.ledger.put_file(new_file())
    world.finish("captioner", files=(file.id,))
    assert world.ledger.get_file("t", file.id) == file
    world.ledger.delete_file("t", file.id)
    assert world.ledger.garbage() == [file.key]


def test_uploading_a_deleted_file_again_brings_it_back(world: World) -> None:
    file = world.ledger.put_file(new_file())
    job_id = world.submit(files=(file.id,))
    world.ledger.delete_file("t", file.id)
    again = world.ledger.put_file(new_file())
    assert again.key == file.key
    world.ledger.cancel(job_id)
    assert world.ledger.garbage() == []
    assert world.ledger.get_file("t", file.id) == file


def test_a_deleted_file_stays_until_the_batch_that_needs_it_has_ended(world: World) -> None:
    file = world.ledger.put_file(new_file())
    batch_id = world.ledger.create_batch(new_batch(files=(file.id,))).job_id
    world.ledger.indexed(batch_id, 1, 64, 1_000)
    world.ledger.delete_file("t", file.id)
    assert world.ledger.files("t", [file.id]) == {}
    assert world.ledger.file_key(file.id) == (file.key, file.sha256, file.bytes)
    world.ledger.cancel_batch(batch_id)
    assert world.ledger.garbage() == []
    world.ledger.finished(batch_id, None, None)
    assert world.ledger.garbage() == [file.key]


def test_a_file_that_expires_stays_for_a_batch_at_work_and_goes_with_it(world: World) -> None:
    file = world.ledger.put_file(new_file())
    batch_id = world.ledger.create_batch(new_batch(files=(file.id,))).job_id
    world.advance(3_600_000)
    assert world.ledger.expire(100) == 1
    assert world.ledger.file_key(file.id)[0] == file.key
    world.ledger.delete_batch(batch_id)
    assert file.key in world.ledger.garbage()


def test_a_retry_needs_the_files_again_and_a_failed_batch_none(world: World) -> None:
    files = [world.ledger.put_file(new_file(f"file_{n}")) for n in range(2)]
    first, second = (
        world.ledger.create_batch(new_batch(files=(file.id,))).job_id for file in files
    )
    world.ledger.cancel_batch(first)
    world.ledger.finished(first, None, None)
    world.ledger.retry_batch(first)
    world.ledger.fail_batch(second, [])
    for file in files:
        world.ledger.delete_file("t", file.id)
    assert world.ledger.garbage() == [files[1].key]


def test_no_batch_of_a_file_that_is_not_there(world: World) -> None:
    new = new_batch(files=("file_1",))
    with pytest.raises(NotFound, match="no such file: file_1"):
        world.ledger.create_batch(new)
    with pytest.raises(NotFound):
        world.ledger.batch(new.id)
