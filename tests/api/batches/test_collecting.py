import json

import pytest

from api.batches.collecting import collect
from api.batches.joining import join
from api.batches.opening import fill
from api.batches.shards import Shards, outcome
from shared.errors import NotFound, StorageUnavailable
from shared.item_jobs import item_job_id, of_item
from shared.layout import errors_key, results_key
from tests.api.batches.keeping import FOLDER

DRAW = {"kind": "generate", "input": {"prompt": "$name"}}


def shard(keeping, key):
    return [json.loads(line) for line in keeping.store.get(key).splitlines()]


def test_every_item_has_one_line_in_the_order_of_the_source(keeping):
    batch_id = keeping.create(keeping.pictures(100))
    done = keeping.finish(batch_id, bad=[f"{FOLDER}7.png", f"{FOLDER}70.png"])
    assert done.status == "completed"
    assert (done.counts.completed, done.counts.failed) == (98, 2)
    assert done.error_codes == {"invalid_image": 2}
    results, errors = keeping.lines(done)
    assert [line["custom_id"] for line in errors] == ["7.png", "70.png"]
    assert [line["custom_id"] for line in results] == [
        f"{n}.png" for n in range(100) if n not in (7, 70)
    ]
    line = results[3]
    assert line["error"] is None
    assert line["response"]["status_code"] == 200
    job = line["response"]["body"]
    assert job["id"] == line["response"]["request_id"] == item_job_id(batch_id, 3)
    assert job["status"] == "succeeded"
    assert job["outputs"]["caption"] == f"of {FOLDER}3.png"
    assert job["urls"]["self"] == f"http://localhost/v1/jobs/{job['id']}"
    assert errors[0]["response"]["body"]["status"] == "failed"
    assert errors[0]["error"]["message"] == f"{FOLDER}7.png: not an image"


def test_a_closed_chunk_leaves_nothing_in_the_ledger(keeping):
    batch_id = keeping.create(keeping.pictures(3))
    keeping.advance(batch_id)
    [job_id] = keeping.jobs(batch_id)
    keeping.run(job_id)
    keeping.advance(batch_id)
    with pytest.raises(NotFound):
        keeping.ledger.get(job_id)
    assert keeping.ledger.batch(batch_id).open == {}


@pytest.mark.parametrize("output", [None, "s3://imagemill/out/"])
def test_pictures_have_a_place_that_stays(keeping, output):
    lines = [{"custom_id": f"a/{name}", "variables": {"name": name}} for name in ("cat", "../dog")]
    request = {"output": output} if output else {}
    batch_id = keeping.create(lines, job=DRAW, **request)
    done = keeping.finish(batch_id, drawn=["cat", "../dog"])
    folder = "out/" if output else f"batches/{batch_id}/images/"
    assert keeping.store.get(f"{folder}a/cat/image-0.png") == b"cat"
    assert keeping.store.get(f"{folder}a/%../dog/image-0.png") == b"../dog"
    results, _ = keeping.lines(done)
    [image] = results[0]["response"]["body"]["outputs"]["images"]
    assert (
        image["url"]
        == f"http://localhost/v1/jobs/{item_job_id(batch_id, 0)}/artifacts/{image['name']}"
    )


def test_a_chunk_job_that_fails_as_a_whole_is_split(keeping):
    batch_id = keeping.create(keeping.pictures(10))
    done = keeping.finish(batch_id, bad=[f"{FOLDER}2.png"], deadly=[f"{FOLDER}5.png"])
    results, errors = keeping.lines(done)
    assert len(results) == 8
    assert {line["custom_id"]: line["error"]["code"] for line in errors} == {
        "2.png": "invalid_image",
        "5.png": "poison",
    }


def test_one_that_no_worker_serves_is_not(keeping):
    batch_id = keeping.create(keeping.pictures(3))
    keeping.advance(batch_id)
    [job_id] = keeping.jobs(batch_id)
    queue = keeping.ledger.get(job_id).steps[0].step.queue("bulk")
    keeping.ledger.fail_unserved(queue, "no worker has served it")
    done = keeping.finish(batch_id)
    _, errors = keeping.lines(done)
    assert [line["error"]["code"] for line in errors] == ["model_not_available"] * 3


def test_a_retry_does_what_failed_again_and_nothing_else(keeping):
    batch_id = keeping.create(keeping.pictures(70))
    bad = [f"{FOLDER}{n}.png" for n in (1, 66)]
    first = keeping.finish(batch_id, bad=bad)
    keeping.ledger.retry_batch(batch_id)
    keeping.advance(batch_id)
    ran = [
        item.number
        for job_id in keeping.jobs(batch_id)
        for item in keeping.ledger.get(job_id).items
    ]
    assert sorted(ran) == [1, 66]
    done = keeping.finish(batch_id, bad=bad[:1])
    assert (done.counts.completed, done.counts.failed) == (69, 1)
    results, errors = keeping.lines(done)
    assert [line["custom_id"] for line in errors] == ["1.png"]
    assert [line["custom_id"] for line in results] == [f"{n}.png" for n in range(70) if n != 1]
    assert done.output_file_id != first.output_file_id
    assert len(keeping.lines(first)[0]) == 68  # the earlier file stays what it was


@pytest.mark.parametrize("end", ["cancel_batch", "expire_batch"])
def test_a_batch_that_ends_early_has_a_line_for_every_item(keeping, end):
    batch_id = keeping.create(keeping.pictures(300))
    keeping.advance(batch_id)
    first, *_ = keeping.jobs(batch_id)
    keeping.run(first, bad=[f"{FOLDER}3.png"])
    getattr(keeping.ledger, end)(batch_id)
    done = keeping.finish(batch_id)
    code = f"batch_{done.status}"
    assert done.status == {"cancel_batch": "cancelled", "expire_batch": "expired"}[end]
    results, errors = keeping.lines(done)
    assert [line["custom_id"] for line in results] == [f"{n}.png" for n in range(64) if n != 3]
    assert [line["custom_id"] for line in errors] == [f"{n}.png" for n in [3, *range(64, 300)]]
    assert {line["error"]["code"] for line in errors[1:]} == {code}
    keeping.ledger.retry_batch(batch_id)
    again = keeping.finish(batch_id)
    results, errors = keeping.lines(again)
    assert (len(results), errors) == (300, [])


def test_a_retry_that_is_canceled_keeps_what_was_known(keeping):
    batch_id = keeping.create(keeping.pictures(3))
    keeping.finish(batch_id, bad=[f"{FOLDER}1.png"])
    keeping.ledger.retry_batch(batch_id)
    keeping.advance(batch_id)
    keeping.ledger.cancel_batch(batch_id)
    results, errors = keeping.lines(keeping.finish(batch_id))
    assert [line["custom_id"] for line in results] == ["0.png", "2.png"]
    assert [line["error"]["code"] for line in errors] == ["invalid_image"]


def test_closing_again_after_a_kill_gives_the_same_lines(keeping, monkeypatch):
    batch_id = keeping.create(keeping.pictures(10))
    keeping.advance(batch_id)
    [job_id] = keeping.jobs(batch_id)
    keeping.run(job_id, bad=[f"{FOLDER}1.png"])

    def dies(*_):
        raise StorageUnavailable("killed")

    monkeypatch.setattr(keeping.ledger, "close_chunk", dies)
    with pytest.raises(StorageUnavailable):
        keeping.advance(batch_id)
    monkeypatch.undo()
    closed = batch_id, 0, keeping.ledger.batch(batch_id).open[0].opening
    before = [keeping.store.get(key(*closed)) for key in (results_key, errors_key)]
    done = keeping.finish(batch_id)
    assert [keeping.store.get(key(*closed)) for key in (results_key, errors_key)] == before
    assert (done.counts.completed, done.counts.failed) == (9, 1)


def test_an_output_that_may_not_be_written_is_the_items_error(keeping, monkeypatch):
    lines = [{"custom_id": name, "variables": {"name": name}} for name in ("cat", "dog")]
    batch_id = keeping.create(lines, job=DRAW, output="s3://closed/")
    copy = keeping.store.copy

    def refuse(key, target_key, target_bucket=""):
        if target_bucket == "closed":
            raise NotFound("no such bucket")
        copy(key, target_key, target_bucket)

    monkeypatch.setattr(keeping.store, "copy", refuse)
    results, errors = keeping.lines(keeping.finish(batch_id, drawn=["cat"]))
    assert [line["custom_id"] for line in results] == ["dog"]
    assert [line["error"]["code"] for line in errors] == ["output_not_writable"]


def test_an_item_whose_job_was_lost_has_its_line(keeping):
    batch_id = keeping.create(keeping.pictures(3))
    keeping.advance(batch_id)
    [job_id] = keeping.jobs(batch_id)
    keeping.ledger.delete(job_id)
    _, errors = keeping.lines(keeping.finish(batch_id))
    assert [line["error"]["code"] for line in errors] == ["internal_error"] * 3


def test_a_keeper_that_was_stopped_for_long_overwrites_nothing(keeping):
    """It goes on with what it knew of the chunk, after another one closed it and a retry was
    done."""
    lines = [{"custom_id": name, "variables": {"name": name}} for name in ("cat", "dog", "eel")]
    lines.append({"custom_id": "bad", "error": {"code": "invalid_json", "message": "no JSON"}})
    batch_id = keeping.create(lines, job=DRAW)
    keeping.advance(batch_id)
    [job_id] = keeping.jobs(batch_id)
    keeping.run(job_id, bad=["cat"])
    known = keeping.ledger.batch(batch_id)
    stale = Shards.read(keeping.store, batch_id, 0)
    job = keeping.ledger.get(job_id)
    keeping.finish(batch_id)
    keeping.ledger.retry_batch(batch_id)
    done = keeping.finish(batch_id)
    before = keeping.lines(done)
    assert [len(found) for found in before] == [3, 1]

    late = known.open[0]
    for number, item in ((number, of_item(job, number)) for number in range(3)):
        error = {"code": "invalid_image", "message": ""} if item.error else None
        stale.put(number, outcome(batch_id, number, lines[number]["custom_id"], {}, error))
    stale.write(keeping.store, batch_id, 0, late.opening)
    assert fill(keeping.services, known, 0, late) == frozenset()
    assert collect(keeping.services, known, 0, late) is None
    assert keeping.lines(join(keeping.services, done)) == before


def test_one_stopped_while_it_opened_a_chunk_takes_no_line_away(keeping):
    lines = [
        {"custom_id": "cat", "variables": {"name": "cat"}},
        {"custom_id": "bad", "error": {"code": "invalid_json", "message": "no JSON"}},
    ]
    batch_id = keeping.create(lines, job=DRAW)
    keeping.advance(batch_id)
    known = keeping.ledger.batch(batch_id)
    done = keeping.finish(batch_id, bad=["cat"])
    fill(keeping.services, known, 0, known.open[0])
    _, errors = keeping.lines(join(keeping.services, done))
    assert [line["error"]["code"] for line in errors] == ["invalid_image", "invalid_json"]
