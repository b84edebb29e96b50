"""From a source to chunks in S3: against a real server, with kills in between."""

import json

import pytest

from api.batches import indexing
from api.batches.indexing import index
from shared.batches import BatchStatus
from shared.errors import NotFound, StorageUnavailable
from shared.layout import chunk_key


def requests(number, first=0):
    lines = (
        {"custom_id": f"{n}", "body": {"kind": "translate", "input": {"text": f"text {n}"}}}
        for n in range(first, first + number)
    )
    return b"\n".join(json.dumps(line).encode() for line in lines)


def ids(chunks):
    return [entry["custom_id"] for chunk in chunks for entry in chunk]


def test_chunks_and_numbers(source_world):
    batch = source_world.requests(requests(150))
    indexed = index(source_world.services, batch)
    assert indexed.status is BatchStatus.IN_PROGRESS
    assert (indexed.chunks, indexed.counts.total) == (3, 150)
    chunks = source_world.index(batch)
    assert [len(chunk) for chunk in chunks] == [64, 64, 22]
    assert [entry["number"] for chunk in chunks for entry in chunk] == list(range(150))
    assert chunks[1][0] == {
        "number": 64,
        "custom_id": "64",
        "line": 65,
        "body": {"kind": "translate", "input": {"text": "text 64"}},
    }


def test_variables_have_the_index(source_world):
    source_world.put("in/a.jpg", b"12345")
    url = source_world.url + "in/"
    batch = source_world.batch({"source": {"type": "s3_prefix", "url": url}, "job": {}})
    assert index(source_world.services, batch).bytes == 5
    ((entry,),) = source_world.index(batch)
    variables = {"image": f"{url}a.jpg", "name": "a", "index": "0"}
    assert entry == {"number": 0, "custom_id": "a.jpg", "variables": variables}


def test_lines_of_no_use_are_items_with_errors(source_world):
    bad = [
        b"{",
        b'{"custom_id": "1", "body": {"kind": "other"}}',
        b'{"body": {}}',
        b'{"custom_id": "a\\u0000", "body": {}}',
        json.dumps({"custom_id": "x" * 1025, "body": {}}).encode(),
        b'{"custom_id": "", "body": {}}',
    ]
    batch = source_world.requests(b"\n".join([requests(2), *bad]))
    assert index(source_world.services, batch).counts.total == 8
    (chunk,) = source_world.index(batch)
    assert [(entry["line"], entry["custom_id"]) for entry in chunk] == [
        (1, "0"),
        (2, "1"),
        (3, None),
        (4, "1"),
        *((line, None) for line in range(5, 9)),
    ]
    codes = [entry.get("error", {}).get("code") for entry in chunk]
    assert codes == [None, None, "invalid_json", "duplicate_custom_id", *["invalid_custom_id"] * 4]


@pytest.mark.parametrize(
    ("data", "code"), [(b"", "empty_source"), (b"\n \n", "empty_source"), (None, "not_found")]
)
def test_a_source_of_no_use(source_world, data, code):
    batch = source_world.requests(data or b"")
    if data is None:
        source_world.ledger.delete_file("default", batch.request["input_file_id"])
    failed = index(source_world.services, batch)
    assert failed.status is BatchStatus.FAILED
    assert [(each.code, each.param) for each in failed.problems] == [(code, "input_file_id")]


def killed(world, batch, after, monkeypatch):
    """Index until so many chunks, or all of them, were written; then fail as if killed."""
    written = []
    put = world.store.put

    def one_at_a_time(key, *args):
        if len(written) == after:
            raise StorageUnavailable("killed")
        written.append(key)
        put(key, *args)

    def indexed(*args):
        raise StorageUnavailable("killed")

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "THREADS", 1)
        patched.setattr(world.ledger, "indexed", indexed)
        patched.setattr(world.store, "put", one_at_a_time)
        with pytest.raises(StorageUnavailable):
            index(world.services, batch)


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_whoever_goes_on_after_a_kill_writes_the_rest(source_world, monkeypatch, after):
    batch = source_world.requests(requests(320))
    killed(source_world, batch, after, monkeypatch)
    before = {key: source_world.store.head(key).modified_at for key in keys(source_world, batch)}
    put, again = source_world.store.put, []
    monkeypatch.setattr(
        source_world.store, "put", lambda key, *args: (again.append(key), put(key, *args))
    )
    assert index(source_world.services, batch).chunks == 5
    assert ids(source_world.index(batch)) == [str(number) for number in range(320)]
    assert not set(again) & set(before)


def keys(world, batch):
    return [entry.key for entry in world.store.list(f"batches/{batch.id}/chunks/")]


def test_a_gap_is_filled(source_world):
    batch = source_world.requests(requests(320))
    index(source_world.services, batch)
    again = source_world.requests(requests(320))
    for place in (0, 1, 3, 4):
        data = source_world.store.get(chunk_key(batch.id, place))
        source_world.store.put(chunk_key(again.id, place), data, "application/jsonl")
    index(source_world.services, again)
    assert source_world.index(again) == source_world.index(batch)


@pytest.mark.parametrize("change", ["one less", "one more", "far fewer"])
def test_a_folder_that_changed_between_two_tries(source_world, monkeypatch, change):
    """No picture twice, none left out."""
    for number in range(130):
        source_world.put(f"in/{number:03}.jpg")
    source = {"type": "s3_prefix", "url": source_world.url + "in/"}
    batch = source_world.batch({"source": source, "job": {}})
    killed(source_world, batch, 2, monkeypatch)
    there = {f"{number:03}.jpg" for number in range(130)}
    if change == "one more":
        source_world.put("in/000a.jpg")
        there.add("000a.jpg")
    else:
        gone = {"005.jpg"} if change == "one less" else {name for name in there if name > "010"}
        source_world.store.delete(f"{source_world.folder}in/{name}" for name in gone)
        there -= gone
    indexed = index(source_world.services, batch)
    found = ids(source_world.index(batch)[: indexed.chunks])
    assert sorted(found) == sorted(there)
    assert indexed.counts.total == len(there)


def test_it_stops_when_the_batch_is_canceled_or_deleted(source_world, monkeypatch):
    monkeypatch.setattr(indexing, "LOOK", 1)
    batch = source_world.requests(requests(64 * 6))
    ledger, looked = source_world.ledger, []

    def ending(end):
        def look(batch_id, found=ledger.batch):
            looked.append(batch_id)
            if len(looked) == 3:
                end(batch_id)
            return found(batch_id)

        return look

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "batch", ending(ledger.cancel_batch))
        assert index(source_world.services, batch).status is not BatchStatus.IN_PROGRESS
    assert len(keys(source_world, batch)) <= 3

    looked.clear()
    batch = source_world.requests(requests(64 * 6))
    monkeypatch.setattr(ledger, "batch", ending(ledger.delete_batch))
    with pytest.raises(NotFound):
        index(source_world.services, batch)
