import base64

from api.batches.joining import join
from api.batches.openai_images import ENDPOINT
from shared.layout import joined_key


def test_joining_twice_makes_one_file(keeping):
    batch_id = keeping.create(keeping.pictures(3))
    first = keeping.finish(batch_id)
    record = keeping.ledger.get_file("default", first.output_file_id)
    again = join(keeping.services, first)
    assert again.output_file_id == first.output_file_id
    after = keeping.ledger.get_file("default", first.output_file_id)
    assert (after.key, after.sha256) == (record.key, record.sha256)
    assert record.purpose == "batch_output"
    assert record.bytes == len(keeping.store.get(record.key, sha256=record.sha256))
    assert first.error_file_id is None


def test_erasing_the_file_leaves_the_batchs_own(keeping):
    batch_id = keeping.create(keeping.pictures(3))
    done = keeping.finish(batch_id)
    key, _, _ = keeping.ledger.file_key(done.output_file_id)
    keeping.store.delete([key])
    assert len(keeping.store.get(joined_key(batch_id, "results")).splitlines()) == 3


def test_images_of_openais_endpoint(keeping):
    lines = [
        {"custom_id": form, "body": {"prompt": form, "response_format": form}}
        for form in ("url", "b64_json")
    ]
    batch_id = keeping.create(lines, endpoint=ENDPOINT)
    results, errors = keeping.lines(keeping.finish(batch_id, drawn=["url", "b64_json"]))
    assert errors == []
    by_url, inline = (line["response"]["body"]["data"][0] for line in results)
    assert by_url["url"].startswith("http://localhost/v1/jobs/")
    assert base64.b64decode(inline["b64_json"]) == b"b64_json"


def test_a_batch_that_is_canceled_before_it_has_an_index(keeping):
    batch_id = keeping.record({"endpoint": "/v1/jobs", "input_file_id": "file_x"})
    keeping.ledger.cancel_batch(batch_id)
    done = join(keeping.services, keeping.ledger.batch(batch_id))
    assert (done.status, done.output_file_id, done.error_file_id) == ("cancelled", None, None)
