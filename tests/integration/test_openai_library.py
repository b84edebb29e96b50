"""OpenAI's own library, told nothing but another address, runs a batch of image requests."""

import base64
import io
import json
import time
from urllib.request import urlopen

import pytest
from openai import NotFoundError, OpenAI, UnprocessableEntityError
from PIL import Image

from tests.waiting import until

PROMPTS = ["a large red circle on a white background", "a small blue square on a black background"]


@pytest.fixture
def openai(stack):
    with OpenAI(base_url=f"{stack.api_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def batch(openai):
    """A batch of two pictures, one of them as bytes, and of two requests that are no good."""
    bodies = [
        {"prompt": PROMPTS[0], "size": "64x64"},
        {"prompt": PROMPTS[1], "n": 2, "response_format": "b64_json", "model": "tiny"},
        {"prompt": "x", "size": "enormous"},
        {"prompt": "x", "model": "dall-e-9"},
    ]
    lines = [
        {"custom_id": f"p{n}", "method": "POST", "url": "/v1/images/generations", "body": body}
        for n, body in enumerate(bodies)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    file = openai.files.create(file=("prompts.jsonl", text.encode()), purpose="batch")
    assert (file.filename, file.bytes, file.status) == ("prompts.jsonl", len(text), "processed")
    assert abs(file.created_at - time.time()) < 3600
    assert openai.files.retrieve(file.id) == file
    assert openai.files.content(file.id).text == text
    return openai.batches.create(
        input_file_id=file.id,
        endpoint="/v1/images/generations",
        completion_window="24h",
        metadata={"night": "one"},
    )


def ended(openai, batch):
    def look():
        now = openai.batches.retrieve(batch.id)
        return now.status in ("completed", "failed", "expired", "cancelled") and now

    return until(look, f"the end of {batch.id}")


def lines(openai, file_id):
    return [json.loads(line) for line in openai.files.content(file_id).content.splitlines()]


def size(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def test_a_batch_of_pictures(openai, batch):
    assert batch.metadata == {"night": "one"}
    batch = ended(openai, batch)
    counts = batch.request_counts
    assert (batch.status, batch.errors) == ("completed", None)
    assert (counts.total, counts.completed, counts.failed) == (4, 2, 2)
    assert batch.completed_at >= batch.in_progress_at >= batch.created_at
    assert batch.id in {each.id for each in openai.batches.list(limit=1)}

    address, inline = lines(openai, batch.output_file_id)
    assert [line["custom_id"] for line in (address, inline)] == ["p0", "p1"]
    assert [line["response"]["status_code"] for line in (address, inline)] == [200, 200]
    [drawn] = address["response"]["body"]["data"]
    pictures = inline["response"]["body"]["data"]
    assert len({each["b64_json"] for each in pictures}) == 2
    with urlopen(drawn["url"]) as answer:
        assert size(answer.read()) == (64, 64)
    assert size(base64.b64decode(pictures[0]["b64_json"])) == (64, 64)

    errors = lines(openai, batch.error_file_id)
    assert [line["custom_id"] for line in errors] == ["p2", "p3"]
    assert "/size" in errors[0]["error"]["message"]
    assert "dall-e-9" in errors[1]["error"]["message"]


def test_a_batch_that_is_cancelled(openai, batch):
    openai.batches.cancel(batch.id)
    batch = ended(openai, batch)
    assert (batch.status, batch.cancelled_at >= batch.cancelling_at) == ("cancelled", True)


def test_what_is_refused_is_its_own_kind_of_error(openai):
    with pytest.raises(NotFoundError):
        openai.batches.retrieve("batch_nope")
    with pytest.raises(UnprocessableEntityError):
        openai.batches.create(
            input_file_id="file_nope", endpoint="/v1/images/generations", completion_window="24h"
        )
