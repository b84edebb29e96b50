"""The items of a batch as jobs, over HTTP: before, while and after they run."""

import pytest

from shared.contracts import CHUNK
from shared.item_jobs import item_job_id

COUNT = CHUNK + 6
BAD = "s3://photos/in/3.png"
DRAWN = "s3://photos/in/4.png"


@pytest.fixture
def batch_id(keeping):
    return keeping.create(keeping.pictures(COUNT))


@pytest.fixture
def item(http, batch_id):
    return lambda number: http.get(f"/v1/jobs/{item_job_id(batch_id, number)}")


def test_an_item_is_a_job_from_the_beginning_to_the_end(item, keeping, batch_id, http):
    waiting = item(3).json
    assert (waiting["status"], waiting["kind"], waiting["steps"]) == ("queued", "caption", [])

    keeping.advance(batch_id)
    [first, _] = keeping.jobs(batch_id)
    assert item(3).json["steps"][0]["status"] == "queued"
    keeping.ledger.claim(first, 0, "w1", "t")
    running = item(3).json
    assert (running["status"], running["steps"][0]["status"]) == ("running", "running")
    assert running["id"] == item_job_id(batch_id, 3)
    assert http.get(f"/v1/jobs/{first}").status_code == 404  # how it is run is no one's business
    keeping.ledger.release(first, 0, keeping.ledger.get(first).fence)

    keeping.run(first, bad=[BAD], drawn=[DRAWN])
    ran = [item(number).json for number in range(5)]
    assert [job["status"] for job in ran] == ["succeeded"] * 3 + ["failed", "succeeded"]
    assert ran[0]["outputs"]["caption"] == "of s3://photos/in/0.png"
    assert (ran[3]["error"]["code"], ran[3]["error"]["step"]) == ("invalid_image", "caption")
    picture = http.get(f"{ran[4]['urls']['self']}/artifacts/image-0.png")
    assert (picture.status_code, "jobs/" in picture.location) == (302, True)

    keeping.finish(batch_id)
    assert item(COUNT - 1).json["status"] == "succeeded"
    assert [item(number).json for number in range(5)] == ran
    picture = http.get(f"{ran[4]['urls']['self']}/artifacts/image-0.png")
    assert f"/imagemill/batches/{batch_id}/images/4.png/image-0.png" in picture.location
    assert http.get(f"{ran[4]['urls']['self']}/artifacts/nope.png").status_code == 404


def test_what_is_no_item(item, http):
    for answer in (item(COUNT), http.get(f"/v1/jobs/{item_job_id('batch_00', 1)}")):
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_items_that_cannot_be_run_are_failed_jobs(keeping, http):
    lines = keeping.pictures(1)
    error = {"code": "invalid_line", "message": "no JSON"}
    lines += [{"custom_id": None, "line": 2, "error": error}]
    lines += [{"custom_id": "x", "variables": {"image": "s3://elsewhere/a.png", "name": "x"}}]
    batch_id = keeping.create(lines)
    before = http.get("/v1/jobs", query_string={"batch_id": batch_id}).json["data"]
    keeping.finish(batch_id)
    after = http.get("/v1/jobs", query_string={"batch_id": batch_id}).json["data"]
    assert [job["status"] for job in before] == ["queued", "failed", "queued"]
    assert [job["status"] for job in after] == ["succeeded", "failed", "failed"]
    assert before[1] == {**after[1], "kind": before[1]["kind"]}
    assert after[1]["error"] == {**error, "step": None}
    assert after[2]["error"]["code"] == "invalid_request"


def test_the_items_of_a_batch_page_by_page(keeping, batch_id, http):
    keeping.advance(batch_id)
    keeping.run(keeping.jobs(batch_id)[0])
    keeping.advance(batch_id)  # the first chunk is closed, the second one is open
    found, after = [], None
    while True:
        query = {"batch_id": batch_id, "limit": 30, **({"after": after} if after else {})}
        page = http.get("/v1/jobs", query_string=query).json
        found += page["data"]
        after = page["next"]
        if not page["has_more"]:
            break
    assert [job["id"] for job in found] == [item_job_id(batch_id, n) for n in range(COUNT)]
    assert [job["status"] for job in found] == ["succeeded"] * CHUNK + ["queued"] * 6
    assert http.get("/v1/jobs").json["data"] == []
    answer = http.get("/v1/jobs", query_string={"batch_id": batch_id, "status": "failed"})
    assert answer.status_code == 422


def test_an_item_ends_with_its_batch_only(item, keeping, batch_id, http):
    path = item(0).json["urls"]["self"]
    for answer in (http.post(f"{path}/cancel"), http.delete(path)):
        assert (answer.status_code, answer.json["code"]) == (409, "conflict")
    keeping.ledger.cancel_batch(batch_id)
    assert item(0).json["status"] == "canceled"


def test_a_job_that_is_one_item(keeping, http):
    """Such as one of a job that was split."""
    batch_id = keeping.create(keeping.pictures(3))
    keeping.advance(batch_id)
    [together] = keeping.jobs(batch_id)
    keeping.run(together, deadly=["s3://photos/in/1.png"])
    keeping.advance(batch_id)
    for job_id in keeping.jobs(batch_id):
        keeping.run(job_id, deadly=["s3://photos/in/1.png"])
    split = http.get("/v1/jobs", query_string={"batch_id": batch_id}).json["data"]
    assert [job["status"] for job in split] == ["succeeded", "failed", "succeeded"]
    keeping.finish(batch_id)
    assert http.get("/v1/jobs", query_string={"batch_id": batch_id}).json["data"] == split
