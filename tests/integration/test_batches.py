"""Batches on the real stack: every item in one of the two files, whoever is killed meanwhile."""

import io
import json
import os
import signal
import zipfile
from collections import Counter

import pytest

from tests.integration.test_api import Api
from tests.waiting import until
from tests.workers.families import noise
from workers.training import world

ENDED = {"completed", "failed", "cancelled", "expired"}
BAD = {7, 100, 199}


@pytest.fixture
def api(stack):
    return Api(stack.api_url)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    noise(number, 64, 64).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def archive(api):
    """Uploads a zip of so many pictures, some of which are none; its file id."""

    def upload(count: int, bad=()) -> str:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed:
            for number in range(count):
                data = b"no picture" if number in bad else png(number)
                packed.writestr(f"{number:04}.png", data)
        status, _, file = api.form("/v1/files", file=buffer.getvalue(), purpose="batch")
        assert status == 201
        return file["id"]

    return upload


@pytest.fixture
def captions(api, archive):
    """Creates a batch of captions of so many pictures."""

    def create(count: int, bad=(), **fields):
        source = {"type": "archive", "file_id": archive(count, bad)}
        job = {"kind": "caption", "input": {"image": "$image"}}
        return created(api, {"source": source, "job": job, **fields})

    return create


def created(api, body):
    status, _, batch = api("POST", "/v1/batches", body)
    assert status == 201, batch
    return batch


def show(api, batch):
    return api("GET", f"/v1/batches/{batch['id']}")[2]


def done(batch):
    return sum(batch["request_counts"][name] or 0 for name in ("completed", "failed"))


def ended(api, batch):
    return until(lambda: (found := show(api, batch))["status"] in ENDED and found, "the end")


def lines(api, batch):
    """The lines of its results and of its errors."""
    found = []
    for name in ("output_file_id", "error_file_id"):
        text = api("GET", f"/v1/files/{batch[name]}/content")[2] if batch[name] else b""
        found.append([json.loads(line) for line in text.splitlines()])
    return found


def test_kills_of_keeper_and_worker_cost_no_item(api, captions, stack):
    batch = captions(300, BAD)
    for part, from_ in (("batches", 20), ("worker-captioner", 80), ("batches", 150)):
        until(lambda from_=from_: done(show(api, batch)) >= from_, what=f"{from_} items")
        os.kill(stack.pids[part], signal.SIGKILL)
    batch = ended(api, batch)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 300, "completed": 297, "failed": 3}
    results, errors = lines(api, batch)
    good = [f"{number:04}.png" for number in range(300) if number not in BAD]
    assert [line["custom_id"] for line in results] == good
    assert all(line["response"]["body"]["outputs"]["caption"] for line in results)
    assert [line["custom_id"] for line in errors] == [f"{number:04}.png" for number in sorted(BAD)]
    assert Counter(line["error"]["code"] for line in errors) == {"invalid_image": 3}


def test_pause_resume_and_cancel(api, captions):
    batch = captions(200, paused=True)
    until(lambda: show(api, batch)["status"] == "paused", what="the pause")
    assert done(show(api, batch)) == 0

    api("POST", f"/v1/batches/{batch['id']}/resume")
    until(lambda: done(show(api, batch)) >= 64, what="a chunk")
    api("POST", f"/v1/batches/{batch['id']}/cancel")
    batch = ended(api, batch)
    assert batch["status"] == "cancelled"
    results, errors = lines(api, batch)
    assert len(results) == batch["request_counts"]["completed"] >= 64
    assert sorted(line["custom_id"] for line in [*results, *errors]) == [
        f"{number:04}.png" for number in range(200)
    ]
    assert {line["error"]["code"] for line in errors} <= {"batch_cancelled"}

    api("POST", f"/v1/batches/{batch['id']}/retry")
    batch = ended(api, batch)
    assert batch["request_counts"] == {"total": 200, "completed": 200, "failed": 0}
    results, errors = lines(api, batch)
    assert [line["custom_id"] for line in results] == [f"{n:04}.png" for n in range(200)]
    assert errors == []


def test_a_retry_when_the_cause_is_gone(api):
    files = [api.form("/v1/files", file=png(n), purpose="image")[2]["id"] for n in range(3)]
    api("DELETE", f"/v1/files/{files[1]}")
    requests = [
        {
            "custom_id": f"caption-{number}",
            "method": "POST",
            "url": "/v1/jobs",
            "body": {"kind": "caption", "input": {"image": file_id}},
        }
        for number, file_id in enumerate(files)
    ]
    text = "".join(json.dumps(line) + "\n" for line in requests).encode()
    upload = api.form("/v1/files", file=text, purpose="batch")[2]
    body = {"input_file_id": upload["id"], "endpoint": "/v1/jobs", "completion_window": "1h"}
    batch = ended(api, created(api, body))
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    [error] = lines(api, batch)[1]
    assert (error["custom_id"], error["error"]["line"]) == ("caption-1", 2)
    assert "no such file" in error["error"]["message"]

    assert api.form("/v1/files", file=png(1), purpose="image")[2]["id"] == files[1]
    api("POST", f"/v1/batches/{batch['id']}/retry")
    batch = ended(api, batch)
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    results, errors = lines(api, batch)
    assert [line["custom_id"] for line in results] == [f"caption-{n}" for n in range(3)]
    assert errors == []


def test_pictures_stay_where_the_lines_say(api):
    source = {"type": "manifest", "file_id": manifest(api)}
    given = {"prompt": "a $size $colour circle on a white background", "steps": 2, "seed": 5}
    batch = ended(
        api, created(api, {"source": source, "job": {"kind": "generate", "input": given}})
    )
    results, errors = lines(api, batch)
    assert errors == []
    for line in results:
        [image] = line["response"]["body"]["outputs"]["images"]
        data = api("GET", image["url"])[2]
        assert len(data) == image["bytes"]


def manifest(api) -> str:
    colours = [{"custom_id": c, "size": "large", "colour": c} for c in world.COLOURS[:3]]
    text = "".join(json.dumps(line) + "\n" for line in colours).encode()
    return api.form("/v1/files", file=text, purpose="batch")[2]["id"]
