"""/v1/jobs after submission: show, list, cancel, erase, artifacts."""

import pytest

from shared.layout import preview_key


@pytest.fixture
def job_id(submit):
    return submit("generate", {"prompt": "x", "n": 2}).json["id"]


@pytest.fixture
def job(http):
    return lambda job_id, **query: http.get(f"/v1/jobs/{job_id}", query_string=query).json


def test_a_job_through_its_life(http, job, submit, worker, ledger, png):
    job_id = submit("reimagine", {"image": _upload(http, png())}).json["id"]
    fence = worker.start(job_id)
    ledger.renew(job_id, 0, fence, 0.5, "step 1 of 2", {"loss": 0.25})
    running = job(job_id)
    assert (running["status"], running["steps"][0]["status"]) == ("running", "running")
    progress = {"value": 0.1667, "message": "step 1 of 2", "metrics": {"loss": 0.25}}
    assert running["progress"] == progress
    assert running["queue_position"] is None
    assert running["steps"][0]["queue_ms"] >= 0

    worker.finish(job_id, {"caption": "a red square"})
    between = job(job_id)
    assert between["outputs"]["caption"] == "a red square"
    assert between["progress"] == {"value": 0.3333, "message": "", "metrics": {}}
    assert between["steps"][1]["status"] == "queued"

    worker.finish(job_id, {"translations": {"arb_Arab": "مربع"}})
    worker.finish(job_id, {"prompt": "a red square"}, {"image-0.png": b"picture"})
    done = job(job_id)
    assert (done["status"], done["progress"]["value"]) == ("succeeded", 1.0)
    assert done["finished_at"] > done["created_at"]
    assert done["outputs"]["translations"] == {"arb_Arab": "مربع"}
    assert done["steps"][2] == {
        "name": "diffuse",
        "family": "diffuser",
        "model": "tiny",
        "revision": "r1",
        "status": "succeeded",
        "attempts": 1,
        "queue_ms": done["steps"][2]["queue_ms"],
        "run_ms": 240,
        "batch_class": 4,
    }
    image = done["outputs"]["images"][0]
    assert (image["name"], image["seed"], image["width"]) == ("image-0.png", 7, 64)
    assert done["outputs"]["artifacts"] == [
        {key: image[key] for key in ("name", "url", "media_type", "sha256", "bytes")}
    ]
    assert image["url"] == f"{done['urls']['self']}/artifacts/image-0.png"


def test_a_preview_is_there_while_a_step_runs(http, job, job_id, worker, store, ledger):
    address = f"/v1/jobs/{job_id}/preview"
    assert job(job_id)["urls"]["preview"] is None
    worker.start(job_id)
    assert job(job_id)["urls"]["preview"].endswith(address)
    missing = http.get(address)
    assert (missing.status_code, missing.json["code"]) == (404, "not_found")
    key = preview_key(ledger.get(job_id))
    store.put(key, b"picture", "image/jpeg")
    answer = http.get(address)
    assert answer.status_code == 302
    assert key in answer.headers["Location"]
    assert answer.headers["Cache-Control"] == "no-store"
    worker.finish(job_id, {"prompt": "x"})
    assert job(job_id)["urls"]["preview"] is None
    assert http.get("/v1/jobs/job_unknown/preview").status_code == 404


def test_a_plot_is_an_artifact_and_no_picture(job, job_id, worker):
    worker.finish(job_id, {}, {"image-0.png": b"picture", "losses.svg": b"plot"})
    outputs = job(job_id)["outputs"]
    assert [image["name"] for image in outputs["images"]] == ["image-0.png"]
    assert [artifact["name"] for artifact in outputs["artifacts"]] == ["image-0.png", "losses.svg"]


def test_an_artifact_is_a_redirect_to_the_store(http, job_id, worker, store):
    worker.finish(job_id, {"prompt": "x"}, {"image-0.png": b"one", "image-1.png": b"two"})
    answer = http.get(f"/v1/jobs/{job_id}/artifacts/image-1.png")
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(store.endpoint)
    assert "image-1.png" in answer.headers["Location"]
    for name in ("image-9.png", "..%2fmanifest.json", "%00"):
        assert http.get(f"/v1/jobs/{job_id}/artifacts/{name}").status_code == 404


def test_a_failed_job_says_why(http, job, job_id, worker, ledger):
    from shared.errors import PredictionFailed

    fence = worker.start(job_id)
    ledger.fail(job_id, 0, fence, PredictionFailed("no"))
    failed = job(job_id)
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "prediction_failed", "message": "no", "step": "diffuse"}


def test_queue_positions(job, submit):
    ids = [submit("generate", {"prompt": "x"}).json["id"] for _ in range(3)]
    assert [job(job_id)["queue_position"] for job_id in ids] == [0, 1, 2]


@pytest.mark.parametrize("job_id", ["job_nope", "nope", "job_" + "0" * 24, "%00", "é", "x" * 3000])
def test_a_job_that_does_not_exist(http, job_id):
    path = f"/v1/jobs/{job_id}"
    for answer in (
        http.get(path),
        http.delete(path),
        http.post(f"{path}/cancel"),
        http.get(f"{path}/artifacts/a.png"),
    ):
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")
        assert answer.mimetype == "application/problem+json"


def test_cancel_is_idempotent(http, job_id):
    first = http.post(f"/v1/jobs/{job_id}/cancel")
    again = http.post(f"/v1/jobs/{job_id}/cancel")
    assert (first.status_code, first.json["status"]) == (200, "canceled")
    assert again.json == first.json
    assert first.json["steps"][0]["status"] == "canceled"


def test_cancel_of_a_running_and_of_an_ended_job(http, job_id, worker, submit):
    worker.start(job_id)
    assert http.post(f"/v1/jobs/{job_id}/cancel").json["status"] == "canceling"
    ended = submit("translate", {"text": "x"}).json["id"]
    worker.finish(ended, {"translation": "y"})
    answer = http.post(f"/v1/jobs/{ended}/cancel")
    assert (answer.status_code, answer.json["status"]) == (200, "succeeded")


def test_delete_ends_and_erases(http, job_id):
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert http.get(f"/v1/jobs/{job_id}").status_code == 404
    assert http.get("/v1/jobs").json["data"] == []


def test_listing_newest_first_with_a_cursor(http, submit):
    ids = [submit("generate", {"prompt": "x"}).json["id"] for _ in range(5)]
    seen, after = [], ""
    while True:
        page = http.get("/v1/jobs", query_string={"limit": 2, "after": after}).json
        seen += [job["id"] for job in page["data"]]
        assert page["has_more"] == (page["next"] is not None)
        if not page["has_more"]:
            break
        after = page["next"]
    assert seen == ids[::-1]


def test_listing_by_status_and_kind(http, submit):
    first = submit("generate", {"prompt": "x"}).json["id"]
    second = submit("translate", {"text": "x"}).json["id"]
    http.post(f"/v1/jobs/{first}/cancel")

    def ids(**query):
        return [job["id"] for job in http.get("/v1/jobs", query_string=query).json["data"]]

    assert ids(status="canceled") == [first]
    assert ids(status="queued") == [second]
    assert ids(kind="generate") == [first]
    assert ids(kind="translate", status="canceled") == []
    assert ids(status="", kind="") == [second, first]


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"status": "done"}, {"after": "x"}, {"foo": 1}],
)
def test_wrong_queries(http, query):
    answer = http.get("/v1/jobs", query_string=query)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    assert answer.json["errors"][0]["pointer"] == f"/query/{next(iter(query))}"


def test_the_ledger_away(http, job_id, ledger):
    ledger.down = True
    for answer in (http.get(f"/v1/jobs/{job_id}"), http.get("/v1/jobs"), http.get("/v1/models")):
        assert (answer.status_code, answer.json["code"]) == (503, "ledger_unavailable")


def _upload(http, data):
    import io

    return http.post("/v1/files", data={"file": (io.BytesIO(data), "a.png")}).json["id"]
