"""`client.batches`, and the uploads that batches begin with."""

import hashlib
import json
import os
import tracemalloc

import pytest
from imagemill import ApiError, BatchFailed, IntegrityError, ServiceUnavailable, WaitTimeout


def batch_of(status, **more):
    return {"id": "batch_1", "status": status, **more}


def line_of(custom_id, body=None, error=None):
    return {"custom_id": custom_id, "response": body and {"body": body}, "error": error}


def test_both_forms(client, service):
    service.on("POST", "/v1/batches", (201, {}, batch_of("validating")))
    client.batches.create(input_file_id="file_1", endpoint="/v1/jobs", completion_window="24h")
    client.batches.create(
        source={"type": "s3_prefix", "url": "s3://a/"},
        job={"kind": "caption", "input": {"image": "$image"}},
        paused=True,
        window=None,
        idempotency_key="mine",
    )
    first, second = (json.loads(request.body) for request in service.requests)
    assert first == {
        "input_file_id": "file_1",
        "endpoint": "/v1/jobs",
        "completion_window": "24h",
    }
    assert second == {
        "source": {"type": "s3_prefix", "url": "s3://a/"},
        "job": {"kind": "caption", "input": {"image": "$image"}},
        "paused": True,
    }
    keys = [request.headers["idempotency-key"] for request in service.requests]
    assert keys[0] != keys[1] == "mine"


def test_a_batch_is_typed_and_keeps_the_whole_answer(client, service):
    counts = {"total": 9, "completed": 3, "failed": 1}
    problem = {"code": "empty", "message": "no items", "line": None, "param": None}
    raw = batch_of("in_progress", request_counts=counts, errors={"data": [problem]}, new=1)
    service.on("GET", "/v1/batches/batch_1", raw)
    batch = client.batches.get("batch_1")
    assert (batch.done, batch.counts.total, batch.counts.ended) == (False, 9, 4)
    assert [each.code for each in batch.problems] == ["empty"]
    assert batch.raw == raw


def test_waiting_over_an_absence_of_the_service(client, service, monkeypatch):
    monkeypatch.setattr("imagemill.waiting.LONGEST_POLL", 0.01)
    away = [(503, {}, {})] * 12  # two looks, with all their tries
    states = [batch_of("validating"), *away, batch_of("in_progress"), batch_of("completed")]
    service.on("GET", "/v1/batches/batch_1", *states)
    seen = []
    batch = client.batches.wait("batch_1", lambda now: seen.append(now.status), patience=60)
    assert (batch.status, seen) == ("completed", ["validating", "in_progress", "completed"])

    service.on("GET", "/v1/batches/batch_1", (503, {}, {"detail": "away"}))
    with pytest.raises(ServiceUnavailable, match="away"):
        client.batches.wait("batch_1")


def test_waiting_in_vain(client, service):
    problem = {"code": "empty", "message": "no items"}
    service.on("GET", "/v1/batches/batch_1", batch_of("failed", errors={"data": [problem]}))
    with pytest.raises(BatchFailed, match="batch_1 failed: no items"):
        client.batches.wait("batch_1")
    service.on("GET", "/v1/batches/batch_1", batch_of("in_progress"))
    with pytest.raises(WaitTimeout, match="batch_1 is still in_progress"):
        client.batches.wait("batch_1", timeout=0.1)


def test_lines_of_results_and_errors(client, service, storage, make):
    job = make.job("job_1", "succeeded", outputs={"caption": "a\u2028b"})
    lines = [line_of("a", job), line_of("b", {"created": 1, "data": []})]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    service.on("GET", "/v1/batches/batch_1/results", text)
    service.faults = [(200, {"Content-Length": str(len(text))}, text[:50])]  # breaks off
    first, second = client.batches.results("batch_1")
    assert (first.custom_id, first.job.outputs["caption"], first.error) == ("a", "a\u2028b", None)
    assert second.job is None

    error = {"code": "invalid_json", "message": "no JSON", "line": 7}
    service.on("GET", "/v1/batches/batch_1/errors", json.dumps(line_of(None, None, error)).encode())
    [bad] = client.batches.errors("batch_1")
    assert (bad.custom_id, bad.job, bad.error.code, bad.error.line) == (
        *(None, None, "invalid_json", 7),
    )


def test_the_results_of_an_ended_batch_are_checked(client, service, tmp_path):
    content = b'{"custom_id": "a"}\n'
    digest = hashlib.sha256(content).hexdigest()
    service.on("GET", "/v1/batches/batch_1", batch_of("completed", output_file_id="file_1"))
    service.on("GET", "/v1/files/file_1", {"id": "file_1", "sha256": digest, "created_at": 7})
    service.on("GET", "/v1/batches/batch_1/results", b"other", content)
    batch = client.batches.get("batch_1")
    with pytest.raises(IntegrityError, match="results of batch_1"):
        client.batches.save(batch, "results", tmp_path / "r.jsonl")
    for _ in range(2):
        client.batches.save(batch, "results", tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == content
    assert len([r for r in service.requests if r.path.endswith("results")]) == 2


def test_listing_page_by_page(client, service):
    pages = [
        {"data": [batch_of("completed")], "has_more": True, "last_id": "batch_1"},
        {"data": [{"id": "batch_0", "status": "failed"}], "has_more": False, "last_id": "batch_0"},
    ]
    service.on("GET", "/v1/batches", *pages)
    assert [batch.id for batch in client.batches.iterate()] == ["batch_1", "batch_0"]
    assert [request.query for request in service.requests] == [{}, {"after": ["batch_1"]}]


def test_erasing_and_what_is_not_there(client, service):
    service.on("DELETE", "/v1/batches/batch_1", (204, {}, b""))
    assert client.batches.delete("batch_1") is None
    with pytest.raises(ApiError, match="there is no /v1/batches/batch_2/forecast"):
        client.batches.forecast("batch_2")


def test_which_files_are_known(client, service):
    def known(request):
        asked = json.loads(request.body)
        return {"known": {digest: f"file_{digest}" for digest in asked["sha256"][1:]}}

    service.on("POST", "/v1/files/known", known)
    digests = [f"{number:064x}" for number in range(1001)]
    found = client.files.known([*digests, digests[0]], "batch")
    assert found.keys() == set(digests) - {digests[0], digests[1000]}
    assert [json.loads(r.body)["purpose"] for r in service.requests] == ["batch"] * 2


def test_a_large_file_is_never_in_memory(client, service, tmp_path, monkeypatch):
    path = tmp_path / "large.tar"
    path.touch()
    os.truncate(path, 64 * 2**20)
    received = []

    def send(_, request, **options):
        received.append(sum(len(part) for part in request.stream))
        raise ConnectionAbortedError

    monkeypatch.setattr("httpx.Client.send", send)
    tracemalloc.start()
    with pytest.raises(ConnectionAbortedError):
        client.files.upload(path, "batch")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert received[0] > 64 * 2**20
    assert peak < 2 * 2**20
