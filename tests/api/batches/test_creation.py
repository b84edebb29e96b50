"""POST /v1/batches: what is accepted, and how it is refused."""

import base64
import io
import json
import tarfile

import pytest

from api.batches.indexing import index
from api.batches.planning import plan
from api.batches.shards import source_lines
from shared.batches import BatchStatus
from shared.errors import NotFound

PREFIX = {"type": "s3_prefix", "url": "s3://photos/in/"}
CAPTION = {"kind": "caption", "input": {"image": "$image"}}


@pytest.fixture
def settings(settings):
    prefixes = ("s3://photos/out/", "s3://missing/")
    return settings.model_copy(update={"s3_output_prefixes": prefixes})


@pytest.fixture
def store(store):
    store.objects["photos", "in/a.png"] = b"x"
    return store


@pytest.fixture
def upload(http):
    def post(data, name="lines.jsonl", purpose="batch"):
        form = {"file": (io.BytesIO(data), name), "purpose": purpose}
        return http.post("/v1/files", data=form).json["id"]

    return post


@pytest.fixture
def create(http):
    def post(headers=None, **document):
        return http.post("/v1/batches", json=document, headers=headers)

    return post


def pointers(answer):
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    return [error["pointer"] for error in answer.json["errors"]]


def test_a_file_of_lines(create, upload, http, ledger):
    lines = upload(b'{"custom_id": "a"}\n')
    answer = create(
        input_file_id=lines, endpoint="/v1/jobs", completion_window="24h", metadata={"a": "ب"}
    )
    assert answer.status_code == 201
    body = answer.json
    assert http.get(answer.headers["Location"]).json == body
    assert (body["object"], body["status"]) == ("batch", "validating")
    assert (body["endpoint"], body["input_file_id"]) == ("/v1/jobs", lines)
    assert body["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert body["metadata"] == {"a": "ب"}
    assert body["expires_at"] - body["created_at"] == 86_400
    assert body["output_file_id"] is body["errors"] is body["rate"] is None
    assert ledger.active_batches() == [body["id"]]


def test_a_source_and_a_template(create, png, upload, ledger):
    style = upload(png(), "style.png", "image")
    answer = create(
        source=PREFIX,
        job={"kind": "blend", "input": {"first": "$image", "second": style, "n": 2}},
        output="s3://photos/out/july/",
        window="22:00–06:00",
        timezone="Africa/Cairo",
        paused=True,
    )
    assert answer.status_code == 201, answer.json
    body = answer.json
    assert body["source"] == {**PREFIX, "recursive": True}
    assert body["job"]["input"] == {"first": "$image", "second": style, "n": 2}
    assert (body["job"]["priority"], body["output"]) == ("bulk", "s3://photos/out/july/")
    assert (body["window"], body["completion_window"]) == ("22:00–06:00", None)
    assert ledger.batch(body["id"]).start_paused


def test_a_picture_that_all_items_share_is_stored_once(create, png, http):
    picture = "data:image/png;base64," + base64.b64encode(png()).decode()
    answer = create(
        source=PREFIX, job={"kind": "blend", "input": {"first": "$image", "second": picture}}
    )
    shared = answer.json["job"]["input"]["second"]
    assert http.get(f"/v1/files/{shared}/content").data == png()


def test_every_source(create, upload, services_of):
    tar = upload(b"PK\x05\x06" + bytes(18), "a.zip")
    lines = upload(b"{}\n")
    sources = [
        {"type": "manifest", "file_id": lines},
        {"type": "manifest", "url": "s3://photos/in/a.jsonl"},
        {"type": "archive", "file_id": tar},
        {"type": "webdataset", "prefix": "s3://photos/in/shards/"},
        {"type": "webdataset", "urls": ["s3://photos/in/0.tar", "s3://photos/in/1.tar"]},
        {"type": "coco", "annotations": lines, "images": tar},
        {"type": "coco", "annotations": "s3://photos/in/a.json", "images": "s3://photos/in/"},
        {"type": "pairs", "first": PREFIX, "second": {"type": "archive", "file_id": tar}},
    ]
    for source in sources:
        answer = create(source=source, job=CAPTION)
        assert answer.status_code == 201, (source, answer.json)
        assert index(*services_of(answer.json["id"])).status in BatchStatus


@pytest.fixture
def services_of(http, ledger):
    services = http.application.extensions["imagemill"]
    return lambda batch_id: (services, ledger.batch(batch_id))


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({}, "/source/type"),
        ({"type": "ftp"}, "/source/type"),
        ("s3://photos/in/", "/source"),
        ({"type": "s3_prefix"}, "/source/url"),
        ({"type": "s3_prefix", "url": "s3://photos/in"}, "/source/url"),
        ({"type": "s3_prefix", "url": "s3://secret/in/"}, "/source/url"),
        ({"type": "s3_prefix", "url": "s3://photos/in/../"}, "/source/url"),
        ({"type": "s3_prefix", "url": "s3://photos/in/", "depth": 3}, "/source/depth"),
        ({"type": "archive"}, "/source"),
        ({"type": "archive", "file_id": "file_no"}, "/source/file_id"),
        ({"type": "webdataset", "urls": []}, "/source/urls"),
        ({"type": "webdataset", "urls": ["s3://photos/in/a", "s3://no/b"]}, "/source/urls/1"),
        (
            {"type": "coco", "annotations": "here", "images": "s3://photos/in/"},
            "/source/annotations",
        ),
        ({"type": "pairs", "first": PREFIX, "second": {"type": "x"}}, "/source/second/type"),
        (
            {"type": "pairs", "first": PREFIX, "second": {"type": "archive", "file_id": "file_x"}},
            "/source/second/file_id",
        ),
    ],
)
def test_sources_that_are_refused(create, ledger, source, pointer):
    assert pointers(create(source=source, job=CAPTION)) == [pointer]
    assert ledger.active_batches() == []


@pytest.mark.parametrize(
    ("job", "pointer"),
    [
        ({"kind": "paint", "input": {}}, "/job/kind"),
        ({"input": {}}, "/job/kind"),
        ({"kind": "caption", "input": {}}, "/job/input/image"),
        ({"kind": "caption", "input": {"image": "$picture"}}, "/job/input"),
        ({"kind": "caption", "input": {"image": "$image", "colour": "red"}}, "/job/input/colour"),
        ({"kind": "caption", "input": {"image": "file_" + "0" * 32}}, "/job/input/image"),
        ({**CAPTION, "models": {"captioner": "nope"}}, "/job/models/captioner"),
        ({**CAPTION, "priority": "urgent"}, "/job/priority"),
        ({**CAPTION, "webhook": {}}, "/job/webhook"),
        ({"kind": "translate", "input": {"text": "$name", "target": "xx"}}, "/job/input/target"),
    ],
)
def test_templates_that_are_refused(create, job, pointer):
    assert pointers(create(source=PREFIX, job=job)) == [pointer]


def test_a_manifest_may_have_any_variable_and_a_dollar_may_be_a_price(create, upload):
    source = {"type": "manifest", "file_id": upload(b"{}\n")}
    job = {"kind": "vqa", "input": {"image": "$picture", "question": "$5 or $more?"}}
    assert create(source=source, job=job).status_code == 201


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"output": "s3://photos/in/"}, "/output"),
        ({"output": "s3://photos/out"}, "/output"),
        ({"output": "s3://missing/"}, "/output"),
        ({"window": "22-6"}, "/window"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"start_at": "tomorrow"}, "/start_at"),
        ({"start_at": 1e300}, "/start_at"),
        ({"completion_window": "soon"}, "/completion_window"),
        ({"metadata": {"a": "x" * 17_000}}, "/metadata"),
        ({"endpoint": "/v1/jobs"}, "/endpoint"),
    ],
)
def test_further_fields_that_are_refused(create, given, pointer):
    assert pointers(create(source=PREFIX, job=CAPTION, **given)) == [pointer]


def test_lines_that_are_refused(create, upload, png):
    asked = {"endpoint": "/v1/jobs", "completion_window": "24h"}
    assert pointers(create(**asked)) == ["/input_file_id"]
    assert pointers(create(**asked, input_file_id="file_" + "0" * 32)) == ["/input_file_id"]
    picture = upload(png(), "a.png", "image")
    assert pointers(create(**asked, input_file_id=picture)) == ["/input_file_id"]
    lines = upload(b"{}\n")
    chat = {**asked, "endpoint": "/v1/chat/completions"}
    assert pointers(create(**chat, input_file_id=lines)) == ["/endpoint"]
    assert pointers(create(input_file_id=lines)) == ["/endpoint", "/completion_window"]


def test_its_files_stay_though_they_are_deleted(create, upload, http, ledger, services_of, png):
    """Of a source that is read, and read again for every picture, and of a shared picture."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("a.png")
        member.size = len(png())
        tar.addfile(member, io.BytesIO(png()))
    tar, style = upload(buffer.getvalue(), "a.tar"), upload(png("blue"), "s.png", "image")
    given = {"source": "$image", "target": style, "mask": "$image"}
    source = {"type": "archive", "file_id": tar}
    answer = create(source=source, job={"kind": "composite", "input": given})
    for file_id in (tar, style):
        assert http.delete(f"/v1/files/{file_id}").status_code == 204
        assert http.get(f"/v1/files/{file_id}").status_code == 404
    services, batch = services_of(answer.json["id"])
    batch = index(services, batch)
    assert (batch.status, batch.counts.total) == ("in_progress", 1)
    [planned] = plan(services, batch, source_lines(services.store, batch.id, 0))
    assert planned.item.input["target"] == style
    assert planned.item.input["source"].startswith(f"{tar}#")
    ledger.delete_batch(batch.id)
    for file_id in (tar, style):
        with pytest.raises(NotFound):
            ledger.file_key(file_id)


def test_parquet_needs_a_library(create, http, monkeypatch):
    asked = {"source": PREFIX, "job": CAPTION, "output_format": "parquet"}
    answer = create(**asked)
    assert (answer.json["output_format"], answer.json["outputs"]) == ("parquet", None)
    monkeypatch.setattr("api.batches.outputs.find_spec", lambda name: None)
    refused = create(**asked)
    assert pointers(refused) == ["/output_format"]
    assert "lacks pyarrow" in refused.json["detail"]
    assert create(**{**asked, "output_format": "webdataset"}).status_code == 201
    assert pointers(create(**{**asked, "output_format": "csv"})) == ["/output_format"]


def test_an_idempotency_key(create, submit):
    key = {"Idempotency-Key": "k"}
    first, again = (create(headers=key, source=PREFIX, job=CAPTION) for _ in range(2))
    assert again.json["id"] == first.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = create(headers=key, source=PREFIX, job=CAPTION, paused=True)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")
    assert submit("generate", {"prompt": "x"}, headers=key).status_code == 422


def test_bodies_that_are_none(http):
    assert http.post("/v1/batches", data=b"{").status_code == 415
    answer = http.post("/v1/batches", data=b"{", content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    for document in ([], "x", {}):
        assert pointers(http.post("/v1/batches", json=document))


def test_the_document_describes_every_source(http):
    document = http.get("/openapi.json").json
    schemas = document["components"]["schemas"]
    sources = schemas["SourceRequest"]["properties"]["source"]["discriminator"]["mapping"]
    assert set(sources) == {"manifest", "s3_prefix", "archive", "webdataset", "coco", "pairs"}
    assert json.dumps(document).count('#/components/schemas/Batch"') > 5
