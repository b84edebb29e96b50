"""`imagemill batch status`, `list` and what else is done with a batch that is there."""

import json

import pytest

BATCH = {
    "id": "batch_1",
    "status": "in_progress",
    "request_counts": {"total": 200, "completed": 64, "failed": 2},
    "error_codes": {"invalid_image": 2},
    "rate": 2.5,
    "eta_s": 53.6,
    "created_at": 1_770_000_000,
    "metadata": {"k": "v"},
}


@pytest.fixture
def batch(service):
    service.on("GET", "/v1/batches/batch_1", BATCH)
    return BATCH


def test_status(cli, batch, service):
    status, out, _ = cli("batch", "status", "batch_1")
    assert (status, out.splitlines()) == (
        0,
        [
            "batch\tbatch_1",
            "status\tin_progress",
            "items\t200",
            "completed\t64",
            "failed\t2",
            "failed invalid_image\t2",
            "rate\t2.5/s",
            "time left\t0:00:54",
            "created\t2026-02-02T02:40:00Z",
            "metadata k\tv",
        ],
    )
    assert json.loads(cli("batch", "status", "batch_1", "--json")[1]) == batch
    status, _, err = cli("batch", "status", "batch_2")
    assert (status, err) == (2, "imagemill: there is no /v1/batches/batch_2\n")


def test_status_of_a_source_of_no_use(cli, service):
    problem = {"code": "invalid_line", "message": "no JSON", "line": 3, "param": None}
    failed = {"id": "batch_1", "status": "failed", "errors": {"data": [problem]}}
    service.on("GET", "/v1/batches/batch_1", failed)
    assert "problem\tinvalid_line: no JSON (line 3)\n" in cli("batch", "status", "batch_1")[1]


def test_listing(cli, service):
    page = {"data": [BATCH], "has_more": True, "last_id": "batch_1"}
    service.on("GET", "/v1/batches", page)
    status, out, err = cli("batch", "list", "--limit", 1, "--after", "batch_2")
    assert (status, out) == (0, "batch_1\tin_progress\t200\t64\t2\t2026-02-02T02:40:00Z\n")
    assert err == "imagemill: there are more: --after batch_1\n"
    assert service.requests[-1].query == {"limit": ["1"], "after": ["batch_2"]}
    told = json.loads(cli("batch", "list", "--json")[1])
    assert told == {"data": [BATCH], "has_more": True, "next": "batch_1"}


@pytest.mark.parametrize("action", ["pause", "resume", "cancel", "retry"])
def test_steering(cli, service, action):
    for name in ("batch_1", "batch_2"):
        service.on("POST", f"/v1/batches/{name}/{action}", {"id": name, "status": "paused"})
    status, out, _ = cli("batch", action, "batch_1", "batch_2")
    assert (status, out) == (0, "batch_1 paused\nbatch_2 paused\n")
    told = (409, {}, {"code": "conflict", "detail": "it has ended"})
    service.on("POST", f"/v1/batches/batch_1/{action}", told)
    assert cli("batch", action, "batch_1") == (2, "", "imagemill: it has ended\n")


def test_results_so_far(cli, batch, service, tmp_path):
    line = {"id": "r", "custom_id": "a\u2028.png", "response": None, "error": None}
    text = json.dumps(line, ensure_ascii=False).encode() + b"\n"
    service.on("GET", "/v1/batches/batch_1/results", text * 2)
    service.on("GET", "/v1/batches/batch_1/errors", text)
    service.on("GET", "/v1/batches/batch_1/report", b"<html>")
    status, out, _ = cli("batch", "results", "batch_1")
    assert (status, [json.loads(each) for each in out.strip().split("\n")]) == (0, [line] * 2)
    assert cli("batch", "results", "batch_1", "--errors")[1].count("\n") == 1
    out = cli("batch", "results", "batch_1", "-o", "out")[1]
    assert out.split() == ["out/results.jsonl", "out/errors.jsonl", "out/report.html"]
    assert (tmp_path / "out/results.jsonl").read_bytes() == text * 2


def test_report_and_forecast(cli, service, tmp_path):
    service.on("GET", "/v1/batches/batch_1/report", b"<html>")
    assert cli("batch", "report", "batch_1", "-o", "page.html")[:2] == (0, "page.html\n")
    assert (tmp_path / "page.html").read_bytes() == b"<html>"
    told = {
        "items": 200,
        "items_left": None,
        "rate": 2.5,
        "seconds": 90_000,
        "finish_at": 1_770_000_000,
        "basis": "measured in this batch",
        "truth": {"earlier": [{}] * 3, "median_ratio": 1.104},
    }
    service.on("GET", "/v1/batches/batch_1/forecast", told)
    shown = cli("batch", "forecast", "batch_1")[1].splitlines()
    assert "items left\t" in shown
    assert "time left\t1 day, 1:00:00" in shown
    assert "finish\t2026-02-02T02:40:00Z" in shown
    assert "earlier\t3 batches took 1.10 times the forecast" in shown
    assert json.loads(cli("batch", "forecast", "batch_1", "--json")[1]) == told
