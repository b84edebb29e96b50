"""What is the same for all routes: models, workers, health, documents, errors, the guard."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from api.app import create_app
from api.guard import check_bind
from shared.errors import SettingsError
from shared.kind import kinds
from shared.settings import Settings
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]

IMPORT_ALONE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = refuse
socket.getaddrinfo = refuse
import api.wsgi
assert api.wsgi.app is not None
heavy = {"torch", "transformers", "diffusers"} & set(sys.modules)
assert not heavy, heavy
assert not [name for name in sys.modules if name.split(".")[0] == "workers"]
"""


def test_importing_the_app_connects_to_nothing_and_loads_no_model_library():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALONE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr


def test_models(http, worker):
    worker.announce("captioner", "tiny")
    models = {model["id"]: model for model in http.get("/v1/models").json["data"]}
    tiny = models["captioner/tiny"]
    assert (tiny["default"], tiny["available"], tiny["family"]) == (True, True, "captioner")
    assert models["diffuser/tiny"]["available"] is False
    assert models["diffuser/sd15"]["default"] is False
    assert (models["diffuser/sd15"]["state"], models["diffuser/tiny"]["state"]) == (
        "missing",
        "shipped",
    )
    assert models["diffuser/sd15"]["download_gb"] > 5
    assert models["translator/tiny"]["languages"]["targets"] == ["arb_Arab", "fra_Latn"]
    assert models["diffuser/tiny"]["defaults"] == {"width": 64, "height": 64, "steps": 20}


def test_workers(http, worker):
    assert http.get("/v1/workers").json == {"data": []}
    worker.announce()
    found = http.get("/v1/workers").json["data"][0]
    assert (found["family"], found["models"], found["slots"]) == ("captioner", {"tiny": "r1"}, 3)
    assert found["started_at"] == "2023-11-14T22:13:20.000Z"


def test_health(http, ledger, store, broker):
    assert http.get("/readyz").json == {"status": "ready"}
    ledger.down = store.down = broker.down = True
    answer = http.get("/readyz")
    assert (answer.status_code, answer.json["missing"]) == (503, ["ledger", "broker", "s3"])
    assert answer.headers["Retry-After"]
    ledger.down = broker.down = False
    assert http.get("/readyz").json["missing"] == ["s3"]
    assert http.get("/healthz").json == {"status": "alive"}


@pytest.mark.parametrize("name", ["ledger", "broker"])
def test_a_server_that_would_lose_jobs_is_not_ready(http, ledger, broker, monkeypatch, name):
    def refuse():
        raise SettingsError("the server has maxmemory-policy allkeys-lru, not noeviction")

    if name == "ledger":
        monkeypatch.setattr(ledger, "check", refuse)
    else:
        monkeypatch.setattr(broker, "ping", refuse)
    answer = http.get("/readyz")
    assert (answer.status_code, answer.json["missing"]) == (503, [name])
    assert "allkeys-lru" in answer.json["detail"]


def test_the_document_is_valid_and_complete(http):
    document = http.get("/openapi.json").json
    validate(document)
    described = {
        (path, method.upper()) for path, item in document["paths"].items() for method in item
    }
    for rule in http.application.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        if path.startswith(("/docs", "/openapi.json")):
            continue
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            assert (path, method) in described
    variants = document["components"]["schemas"]["JobRequest"]["discriminator"]["mapping"]
    assert set(variants) == set(kinds())
    for path, item in document["paths"].items():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                error = status == "default" or int(status) >= 400
                found = set(answer.get("content", {}))
                assert (found == {"application/problem+json"}) == error, (path, status)
            assert operation["summary"]
    upload = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(upload) == {"application/json", "multipart/form-data"}


def test_what_is_answered_fits_the_document(http, submit, worker):
    from jsonschema import Draft202012Validator

    document = http.get("/openapi.json").json
    job_id = submit("generate", {"prompt": "x"}).json["id"]
    worker.announce()
    worker.finish(job_id, {"prompt": "x"}, {"image-0.png": b"x"})
    answers = {
        "Job": http.get(f"/v1/jobs/{job_id}"),
        "JobList": http.get("/v1/jobs"),
        "ModelList": http.get("/v1/models"),
        "WorkerList": http.get("/v1/workers"),
        "Health": http.get("/readyz"),
        "Problem": submit("generate", {}),
    }
    for name, answer in answers.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)


def test_the_docs_page_needs_no_other_site(http):
    page = http.get("/docs", follow_redirects=True)
    assert page.status_code == 200
    assert "https://" not in page.text
    for asset in ("js/swagger-ui-bundle.js", "css/swagger-ui.css"):
        assert f"swagger/{asset}" in page.text
        assert http.get(f"/docs/swagger/{asset}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/v1/nope", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("POST", "/v1/jobs", 415, "unsupported_media_type"),
    ],
)
def test_errors_of_the_framework_are_problems_too(http, method, path, status, code):
    answer = http.open(path, method=method)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert (answer.json["code"], answer.json["status"]) == (code, status)
    assert status != 405 or "Allow" in answer.headers


def test_an_unexpected_error_hides_its_details(http, ledger, monkeypatch):
    def explode(*args, **kwargs):
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr(ledger, "get", explode)
    answer = http.get("/v1/jobs/job_x")
    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert answer.mimetype == "application/problem+json"
    assert "1234" not in answer.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.nip.io", 421),
        ("192.168.0.7:8080", 421),
        ("0.0.0.0", 421),
    ],
)
def test_the_host_header_is_checked(http, host, status):
    answer = http.get("/healthz", headers={"Host": host})
    assert answer.status_code == status
    assert status == 200 or answer.json["code"] == "host_not_allowed"


def test_other_machines_and_other_sites_are_refused(http):
    answer = http.get("/healthz", environ_base={"REMOTE_ADDR": "192.168.0.9"})
    assert (answer.status_code, answer.json["code"]) == (403, "not_local")
    for origin in ("https://evil.example", "null"):
        answer = http.get("/healthz", headers={"Origin": origin})
        assert (answer.status_code, answer.json["code"]) == (403, "origin_not_allowed")
    assert http.get("/healthz", headers={"Origin": "http://localhost:8080"}).status_code == 200


def test_only_loopback_may_be_bound():
    check_bind(["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.9"])
    for host in ("0.0.0.0", "", "::", "192.168.0.7", "example.org"):
        with pytest.raises(SettingsError, match="IMAGEMILL_AUTH"):
            check_bind([host])


def test_an_unknown_profile_stops_the_start(tmp_path):
    with pytest.raises(SettingsError, match="IMAGEMILL_PROFILE"):
        create_app(Settings(models_dir=tmp_path, profile="nope"))
