"""The HTTP API of the embedded stack: what only real servers and a real gunicorn can show."""

import hashlib
import http.client
import io
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from openapi_spec_validator import validate
from PIL import Image

from shared.images import read_recipe
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
ENDED = {"succeeded", "failed", "canceled", "expired"}


class Api:
    """Just enough of a client, so that nothing is hidden by one."""

    def __init__(self, url):
        self.url = url

    def __call__(self, method, path, body=None, headers=None):
        """(status, headers, JSON or bytes)"""
        url = path if path.startswith("http") else self.url + path
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=PATIENCE_S)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            data = answer.read()
            if answer.headers.get_content_type().endswith("json"):
                data = json.loads(data)
            return answer.status, answer.headers, data

    def form(self, path, headers=None, **parts):
        boundary = uuid.uuid4().hex
        body = b""
        for name, value in parts.items():
            file = "" if isinstance(value, str) else f'; filename="{name}"'
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            body += head.encode() + (value.encode() if isinstance(value, str) else value) + b"\r\n"
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        body += f"--{boundary}--\r\n".encode()
        return self("POST", path, body, {**kind, **(headers or {})})

    def ended(self, job):
        """The job once it has."""

        def look():
            now = self("GET", job["urls"]["self"])[2]
            return now["status"] in ENDED and now

        return until(look, f"the end of {job['id']}")


@pytest.fixture
def api(stack):
    return Api(stack.api_url)


def picture(colour="red", form="PNG", size=(128, 96), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form, **options)
    return buffer.getvalue()


def test_a_blend_from_two_parts(api):
    job = '{"kind":"blend","input":{"translate_to":["arb_Arab"],"n":2,"seed":5}}'
    status, headers, job = api.form("/v1/jobs", job=job, first=picture(), second=picture("blue"))
    assert status == 202
    assert headers["Location"] == job["urls"]["self"]
    job = api.ended(job)
    assert job["status"] == "succeeded", job
    assert [step["family"] for step in job["steps"]] == ["captioner", "translator", "diffuser"]
    assert all(step["revision"] for step in job["steps"])
    assert job["outputs"]["caption"]
    assert job["outputs"]["translations"]["arb_Arab"]
    assert [image["seed"] for image in job["outputs"]["images"]] == [5, 6]
    for image in job["outputs"]["images"]:
        status, headers, data = api("GET", image["url"])
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert headers["Content-Disposition"] == f'inline; filename="{image["name"]}"'
        assert hashlib.sha256(data).hexdigest() == image["sha256"]
        assert len(data) == image["bytes"]
        assert read_recipe(data)["seed"] == image["seed"]


def test_a_photograph_of_12_megapixels_and_odd_pictures(api):
    odd = [
        picture("green", "JPEG", (4000, 3000)),
        picture("green", "GIF"),
        picture("green", "WEBP"),
    ]
    for data in odd:
        status, _, job = api.form("/v1/jobs", job='{"kind":"caption","input":{}}', image=data)
        assert status == 202
        assert api.ended(job)["status"] == "succeeded"


def test_uploads_are_used_by_reference(api):
    status, _, file = api.form("/v1/files", file=picture("yellow"), purpose="image")
    assert (status, file["width"], file["height"]) == (201, 128, 96)
    assert api("GET", f"/v1/files/{file['id']}/content")[2] == picture("yellow")
    _, _, job = api("POST", "/v1/jobs", {"kind": "caption", "input": {"image": file["id"]}})
    assert api("DELETE", f"/v1/files/{file['id']}")[0] == 204
    assert api.ended(job)["status"] == "succeeded"
    assert api("GET", f"/v1/files/{file['id']}")[0] == 404


def test_waiting_for_the_end(api):
    body = {"kind": "translate", "input": {"text": "a large red circle on a white background"}}
    status, headers, job = api("POST", "/v1/jobs", body, {"Prefer": "wait=30"})
    assert (status, job["status"]) == (200, "succeeded")
    assert headers["Preference-Applied"] == "wait=30"
    assert job["outputs"]["translation"]


def test_one_job_for_one_key_from_many_threads(api):
    key, ids = {"Idempotency-Key": uuid.uuid4().hex}, []
    body = {"kind": "generate", "input": {"prompt": "a small blue square"}}
    threads = [
        threading.Thread(target=lambda: ids.append(api("POST", "/v1/jobs", body, key)[2]["id"]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids))) == (8, 1)


def test_cancel_and_delete(api):
    body = {"kind": "generate", "input": {"prompt": "x", "n": 10, "steps": 1000}}
    job = api("POST", "/v1/jobs", body)[2]
    status, _, canceled = api("POST", f"/v1/jobs/{job['id']}/cancel")
    assert (status, canceled["status"] in ("canceling", "canceled")) == (200, True)
    assert api.ended(job)["status"] == "canceled"
    assert api("DELETE", f"/v1/jobs/{job['id']}")[0] == 204
    assert api("GET", f"/v1/jobs/{job['id']}")[0] == 404


def test_bad_requests_lose_nothing(api):
    def code(answer):
        status, headers, problem = answer
        assert headers["Content-Type"] == "application/problem+json"
        return status, problem["code"]

    data = picture(form="JPEG", size=(500, 400))
    assert code(api.form("/v1/files", file=data[: len(data) // 2])) == (422, "invalid_image")
    assert code(api("GET", "/v1/jobs/job_nope")) == (404, "not_found")
    big = {"kind": "generate", "input": {"prompt": "x" * 2**20}}
    assert code(api("POST", "/v1/jobs", big)) == (422, "invalid_request")
    assert api("GET", "/readyz")[0] == 200


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_answered(stack, announced):
    """Also where the client sends all of it before it looks for an answer."""
    size = (stack.settings.max_upload_mb + 8) * 2**20
    connection = http.client.HTTPConnection(urlsplit(stack.api_url).netloc, timeout=PATIENCE_S)
    chunks = (bytes(2**20) for _ in range(size // 2**20))
    headers = {"Content-Type": "application/json"}
    if announced:
        headers["Content-Length"] = str(size)
    connection.request("POST", "/v1/jobs", chunks, headers, encode_chunked=not announced)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["code"]) == (413, "too_large")
    connection.close()


def test_models_and_workers_are_live(api):
    models = {model["id"]: model for model in api("GET", "/v1/models")[2]["data"]}
    workers = api("GET", "/v1/workers")[2]["data"]
    for family in ("captioner", "translator", "diffuser"):
        assert models[f"{family}/tiny"]["available"]
        assert any(worker["family"] == family for worker in workers)


def test_the_document_is_valid(api):
    validate(api("GET", "/openapi.json")[2])


def test_a_waiting_request_is_answered_when_the_service_stops(servers):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = Api(f"http://127.0.0.1:{listener.getsockname()[1]}")
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "api.wsgi:app"]
        process = subprocess.Popen(
            [
                *("sh", "-c", '. "$0" && exec "$@"', servers.data_dir / "stack.env"),
                *(*command, "-b", f"fd://{listener.fileno()}"),
            ],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
        )
        try:
            body = {"kind": "generate", "input": {"prompt": "x"}}
            with ThreadPoolExecutor() as pool:
                waits = [
                    pool.submit(api, "POST", "/v1/jobs", body, {"Prefer": "wait=60"})
                    for _ in range(2)
                ]
                while len(api("GET", "/v1/jobs?kind=generate")[2]["data"]) < 2:
                    time.sleep(0.1)
                started = time.monotonic()
                process.terminate()
                answers = [wait.result(PATIENCE_S) for wait in waits]
            assert time.monotonic() - started < 40  # of the 60 s that they asked for
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
    assert [(status, job["status"]) for status, _, job in answers] == [(202, "queued")] * 2
