"""OpenAI's image requests as jobs, and jobs as its answers."""

import base64
import json

import pytest

from api.batches.openai_images import job_document
from shared.errors import InvalidRequest


def test_the_whole_body_as_a_job():
    body = {
        "model": "tiny",
        "prompt": "a red circle",
        "n": 2,
        "size": "64x48",
        "response_format": "b64_json",
        "quality": "hd",
        "style": "vivid",
        "user": "me",
    }
    assert job_document(body) == {
        "kind": "generate",
        "input": {"prompt": "a red circle", "n": 2, "width": 64, "height": 48},
        "models": {"diffuser": "tiny"},
        "metadata": {"response_format": "b64_json", "user": "me"},
    }


@pytest.mark.parametrize("size", [None, "auto"])
def test_what_is_left_open_is_the_models(size):
    body = {"prompt": "x", "n": None, "size": size, "model": None, "response_format": None}
    assert job_document(body) == {
        "kind": "generate",
        "input": {"prompt": "x", "n": 1},
        "models": {},
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, "/prompt"),
        ({"prompt": 3}, "/prompt"),
        ({"prompt": "x", "n": 11}, "/n"),
        ({"prompt": "x", "size": "big"}, "/size"),
        ({"prompt": "x", "size": "64x"}, "/size"),
        ({"prompt": "x", "background": "transparent"}, "/background"),
        ({"prompt": "x", "output_format": "webp"}, "/output_format"),
        ({"prompt": "x", "stream": True}, "/stream"),
    ],
)
def test_what_is_not_understood_is_refused(body, pointer):
    with pytest.raises(InvalidRequest) as caught:
        job_document(body)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


def test_results_so_far_and_at_the_end_have_its_form(keeping, http):
    bodies = [
        {"prompt": "as an address"},
        {"prompt": "as bytes", "response_format": "b64_json"},
        {"prompt": "bad"},
        {"prompt": "x", "n": 99},
    ]
    lines = [{"custom_id": f"c{n}", "body": body} for n, body in enumerate(bodies)]
    batch_id = keeping.create(lines, endpoint="/v1/images/generations")
    drawn = ["as an address", "as bytes"]
    keeping.advance(batch_id)
    assert read(http, batch_id, "results") == read(http, batch_id, "errors") == []

    record = keeping.finish(batch_id, bad=["bad"], drawn=drawn)
    results, errors = read(http, batch_id, "results"), read(http, batch_id, "errors")
    assert keeping.lines(record) == (results, errors)
    assert [line["custom_id"] for line in results] == ["c0", "c1"]
    address, inline = (line["response"]["body"] for line in results)
    job = results[0]["response"]["request_id"]
    assert http.get(address["data"][0]["url"]).status_code == 302
    assert f"/v1/jobs/{job}/artifacts/image-0.png" in address["data"][0]["url"]
    assert inline["data"] == [{"b64_json": base64.b64encode(b"as bytes").decode()}]
    assert address["created"] >= 1_700_000_000
    assert [line["error"]["code"] for line in errors] == ["invalid_image", "invalid_request"]
    assert [line["response"] for line in errors] == [None, None]
    assert "/n" in errors[1]["error"]["message"]
    assert http.get(f"/v1/jobs/{job}").json["kind"] == "generate"


def test_a_picture_that_was_erased_keeps_its_address(keeping, store, http):
    body = {"prompt": "p", "response_format": "b64_json"}
    batch_id = keeping.create([{"custom_id": "a", "body": body}], endpoint="/v1/images/generations")
    keeping.advance(batch_id)
    keeping.run(keeping.jobs(batch_id)[0], drawn=["p"])
    keeping.advance(batch_id)
    store.delete([f"batches/{batch_id}/images/a/image-0.png"])
    [line] = read(http, batch_id, "results")
    assert list(line["response"]["body"]["data"][0]) == ["url"]


def read(http, batch_id, which):
    answer = http.get(f"/v1/batches/{batch_id}/{which}")
    assert (answer.status_code, answer.mimetype) == (200, "application/jsonl")
    return [json.loads(line) for line in answer.data.splitlines()]
