"""/v1/batches after creation: show, list, steer, read, erase."""

import json

import pytest
from jsonschema import Draft202012Validator

from api.present_batch import batch as shown
from shared.batches import BatchProblem, NewBatch

BAD = "s3://photos/in/1.png"


@pytest.fixture
def batch_id(keeping):
    return keeping.create(keeping.pictures(3))


def post(http, batch_id, action):
    answer = http.post(f"/v1/batches/{batch_id}/{action}")
    return answer.json["status"] if answer.status_code == 200 else answer.json["code"]


def lines(answer):
    return [json.loads(line) for line in answer.data.splitlines()]


def test_counts_errors_files_and_times(http, keeping, batch_id):
    keeping.finish(batch_id, bad=[BAD])
    batch = http.get(f"/v1/batches/{batch_id}").json
    assert (batch["status"], batch["error_codes"]) == ("completed", {"invalid_image": 1})
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert batch["completed_at"] >= batch["in_progress_at"] >= batch["created_at"] > 1_700_000_000
    assert batch["next_start"] is batch["eta_s"] is None
    file = http.get(f"/v1/files/{batch['output_file_id']}").json
    assert (file["purpose"], file["object"]) == ("batch_output", "file")
    content = http.get(f"/v1/files/{batch['output_file_id']}/content").data
    assert content == http.get(batch["urls"]["results"]).data
    errors = http.get(f"/v1/files/{batch['error_file_id']}/content").data
    assert errors == http.get(batch["urls"]["errors"]).data
    assert [json.loads(line)["custom_id"] for line in errors.splitlines()] == ["1.png"]


def test_a_source_that_is_of_no_use(http, keeping, ledger):
    new = NewBatch(id="batch_1", tenant="default", request={}, base_url="", retention_s=9)
    ledger.create_batch(new)
    ledger.fail_batch("batch_1", [BatchProblem(code="empty", message="no items", line=1)])
    batch = http.get("/v1/batches/batch_1").json
    assert batch["status"] == "failed"
    assert batch["errors"] == {
        "object": "list",
        "data": [{"code": "empty", "message": "no items", "line": 1, "param": None}],
    }


def test_steering(http, keeping, batch_id):
    steps = ["pause", "pause", "resume", "retry", "cancel", "resume", "pause"]
    states = [post(http, batch_id, step) for step in steps]
    assert states[:4] == ["paused", "paused", "in_progress", "conflict"]
    assert set(states[5:]) == {"conflict"}
    keeping.finish(batch_id)
    assert post(http, batch_id, "retry") == "in_progress"
    keeping.finish(batch_id)
    assert http.get(f"/v1/batches/{batch_id}").json["request_counts"]["completed"] == 3


def test_rate_and_time_left(http, keeping, ledger):
    batch_id = keeping.create(keeping.pictures(4 * 64))
    keeping.advance(batch_id)
    keeping.run(keeping.jobs(batch_id)[0])
    keeping.advance(batch_id)
    record = ledger.batch(batch_id)
    later = shown(record, "http://mill.test/", record.in_progress_at + 32_000)
    assert (later.rate, later.eta_s) == (2.0, 96.0)
    moments = [[record.in_progress_at + 10_000, 44, 0], [record.in_progress_at + 90_000, 64, 0]]
    noted = record.model_copy(update={"notes": {"points": moments}})
    lately = shown(noted, "http://mill.test/", record.in_progress_at + 110_000)
    assert (lately.rate, lately.eta_s) == (0.2, 960.0)


def test_the_next_start_of_a_schedule(http, keeping):
    batch_id = keeping.create(keeping.pictures(1), start_at=4_000_000_000, window="22:00–06:00")
    batch = http.get(f"/v1/batches/{batch_id}").json
    assert batch["next_start"] == 4_000_000_000 + (22 * 3600 - 4_000_000_000 % 86_400)


def test_listing_newest_first(http, keeping):
    ids = [keeping.create(keeping.pictures(1)) for _ in range(3)][::-1]
    first = http.get("/v1/batches?limit=2").json
    assert ([batch["id"] for batch in first["data"]], first["has_more"]) == (ids[:2], True)
    assert (first["object"], first["first_id"], first["last_id"]) == ("list", ids[0], ids[1])
    second = http.get(f"/v1/batches?limit=2&after={first['last_id']}").json
    assert ([batch["id"] for batch in second["data"]], second["has_more"]) == (ids[2:], False)
    assert http.get("/v1/batches?after=batch_x").status_code == 404
    assert http.get("/v1/batches?limit=0").status_code == 422


def test_erasing(http, keeping, batch_id):
    keeping.finish(batch_id)
    output = http.get(f"/v1/batches/{batch_id}").json["output_file_id"]
    assert http.delete(f"/v1/batches/{batch_id}").status_code == 204
    for path in ("", "/results", "/errors"):
        answer = http.get(f"/v1/batches/{batch_id}{path}")
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert post(http, batch_id, "cancel") == "not_found"
    assert len(lines(http.get(f"/v1/files/{output}/content"))) == 3


def test_a_shard_that_cannot_be_read_is_a_problem_not_a_short_answer(
    http, keeping, batch_id, store
):
    store.down = True
    answer = http.get(f"/v1/batches/{batch_id}/results")
    assert (answer.status_code, answer.json["code"]) == (503, "storage_unavailable")


def test_what_is_answered_fits_the_document(http, keeping, batch_id):
    document = http.get("/openapi.json").json
    running = http.get(f"/v1/batches/{batch_id}").json
    keeping.finish(batch_id, bad=[BAD])
    ended = http.get(f"/v1/batches/{batch_id}").json
    answers = [
        ("Batch", running),
        ("Batch", ended),
        ("BatchList", http.get("/v1/batches").json),
        ("JobList", http.get(f"/v1/jobs?batch_id={batch_id}").json),
        ("File", http.get(f"/v1/files/{ended['output_file_id']}").json),
        ("Problem", http.post(f"/v1/batches/{batch_id}/pause").json),
    ]
    for name, answer in answers:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(answer)
