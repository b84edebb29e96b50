"""POST /v1/jobs: what is accepted, and how it is refused."""

import base64
import io
import json
import threading
import time

import pytest

from api import shutdown


def pointers(answer):
    assert answer.mimetype == "application/problem+json"
    return [error["pointer"] for error in answer.json["errors"]]


def data_uri(data):
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def multipart(http, job, headers=None, **parts):
    files = {name: (io.BytesIO(data), f"{name}.png") for name, data in parts.items()}
    return http.post(
        "/v1/jobs",
        data={"job": json.dumps(job), **files},
        headers=headers,
        content_type="multipart/form-data",
    )


def test_a_job_of_two_parts(http, png, ledger, broker):
    job = {"kind": "blend", "input": {"translate_to": ["arb_Arab"]}, "metadata": {"a": "ب"}}
    answer = multipart(http, job, first=png("red"), second=png("blue"))
    assert answer.status_code == 202
    body = answer.json
    assert answer.headers["Location"] == body["urls"]["self"]
    assert http.get(body["urls"]["self"]).json == body
    assert (body["kind"], body["status"], body["metadata"]) == ("blend", "queued", {"a": "ب"})
    assert [(step["name"], step["family"], step["status"]) for step in body["steps"]] == [
        ("caption", "captioner", "queued"),
        ("translate", "translator", "waiting"),
        ("diffuse", "diffuser", "waiting"),
    ]
    assert body["queue_position"] == 0
    assert body["progress"]["value"] == 0
    assert (body["started_at"], body["finished_at"], body["error"]) == (None, None, None)
    assert broker.published == [body["id"]]
    record = ledger.get(body["id"])
    assert record.input["first"].startswith("file_")
    assert record.input["first"] != record.input["second"]
    assert isinstance(record.input["seed"], int)
    assert ledger.get_file("default", record.input["second"]).width == 40


def test_one_picture_for_both_parts(http, png, ledger):
    answer = multipart(http, {"kind": "blend", "input": {}}, first=png(), second=png())
    record = ledger.get(answer.json["id"])
    assert record.input["first"] == record.input["second"]


def test_every_kind_of_reference(http, png, submit, ledger, store):
    store.objects["photos", "in/a.png"] = png("green")
    uploaded = http.post("/v1/files", data={"file": (io.BytesIO(png()), "a.png")}).json["id"]
    for reference in (uploaded, data_uri(png("blue")), "s3://photos/in/a.png"):
        answer = submit("caption", {"image": reference})
        assert answer.status_code == 202, answer.json
        file_id = ledger.get(answer.json["id"]).input["image"]
        assert http.get(f"/v1/files/{file_id}").json["width"] == 40
    assert submit("caption", {"image": uploaded}).status_code == 202


def test_the_job_part_may_be_a_file_of_json(http):
    job = json.dumps({"kind": "generate", "input": {"prompt": "x"}}).encode()
    answer = http.post("/v1/jobs", data={"job": (io.BytesIO(job), "job.json")})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "reference",
    [
        "file_" + "0" * 32,
        "file_nope",
        "file_../../etc",
        "https://example.org/a.png",
        "http://127.0.0.1/a.png",
        "s3://other/a.png",
        "s3://photos/inside/a.png",
        "s3://photos/in/../secret.png",
        "s3://photos/in/",
        "s3://photos/in/missing.png",
        "data:text/plain;base64,aGVsbG8=",
        "data:image/png;base64,!!!",
        "data:image/png,abc",
        "/etc/passwd",
        "a.png",
        "part:image",
    ],
)
def test_references_that_are_refused(submit, ledger, reference):
    answer = submit("caption", {"image": reference})
    assert (answer.status_code, pointers(answer)) == (422, ["/input/image"])
    assert ledger.jobs("default").jobs == []


@pytest.mark.parametrize("data", [b"", b"hello"])
def test_a_picture_that_is_none(http, submit, data, store):
    answers = [
        submit("caption", {"image": data_uri(data)}),
        multipart(http, {"kind": "caption", "input": {}}, image=data),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json["code"]) == (422, "invalid_image")
        assert pointers(answer) == ["/input/image"]
    assert store.objects == {}


def test_an_s3_object_over_the_limit(submit, store):
    store.objects["photos", "in/big"] = b"x" * (2**20 + 1)
    answer = submit("caption", {"image": "s3://photos/in/big"})
    assert (answer.status_code, pointers(answer)) == (422, ["/input/image"])


@pytest.mark.parametrize("way", ["uploaded", "inline", "object"])
def test_pictures_of_sizes_that_do_not_fit(http, submit, png, store, ledger, way):
    """Refused however they come, and what comes with the job is not stored."""

    def reference(size):
        data = png(size=size)
        if way == "inline":
            return data_uri(data)
        if way == "uploaded":
            return http.post("/v1/files", data={"file": (io.BytesIO(data), "a.png")}).json["id"]
        key = f"in/{size[0]}.png"
        store.objects["photos", key] = data
        return f"s3://photos/{key}"

    pair = {"left": reference((500, 500)), "right": reference((1001, 500))}
    low = {**pair, "right": reference((300, 63))}
    there = len(store.objects)
    answer = submit("panorama", low)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    assert pointers(answer) == ["/input/right"]
    assert "300×63 pixels; the model takes none smaller than 64×64" in answer.json["detail"]
    answer = submit("panorama", {**pair, "full_height": True})  # 1,000,000 pixels are allowed
    assert (answer.status_code, pointers(answer)) == (422, ["/input/full_height"])
    assert "2001×500 pixels" in answer.json["detail"]
    assert len(store.objects) == there
    fits = {**pair, "right": reference((1000, 500)), "full_height": True}
    assert submit("panorama", fits).status_code == 202


@pytest.mark.parametrize(
    ("kind", "given", "pointer"),
    [
        ("generate", {}, "/input/prompt"),
        ("generate", {"prompt": ""}, "/input/prompt"),
        ("generate", {"prompt": "x" * 2**19}, "/input/prompt"),
        ("generate", {"prompt": 5}, "/input/prompt"),
        ("generate", {"prompt": "x", "n": 0}, "/input/n"),
        ("generate", {"prompt": "x", "n": 11}, "/input/n"),
        ("generate", {"prompt": "x", "n": "2"}, "/input/n"),
        ("generate", {"prompt": "x", "n": 2.5}, "/input/n"),
        ("generate", {"prompt": "x", "n": True}, "/input/n"),
        ("generate", {"prompt": "x", "seed": -1}, "/input/seed"),
        ("generate", {"prompt": "x", "guidance": 1e9}, "/input/guidance"),
        ("generate", {"prompt": "x", "colour": "red"}, "/input/colour"),
        ("generate", [], "/input"),
        ("generate", None, "/input"),
        ("translate", {"text": []}, "/input/text"),
        ("translate", {"text": ["a", 5]}, "/input/text/1"),
        ("translate", {"text": "x", "target": "Arabic"}, "/input/target"),
        ("translate", {"text": "x", "target": "zzz_Zzzz"}, "/input/target"),
        ("translate", {"text": "x", "source": "fra_Latn"}, "/input/source"),
        ("caption", {}, "/input/image"),
        ("caption", {"image": 5}, "/input/image"),
        ("blend", {"first": "a.png"}, "/input/second"),
        ("blend", {"first": "a", "second": "b", "translate_to": ["xx"]}, "/input/translate_to/0"),
        (
            "blend",
            {"first": "a", "second": "b", "translate_to": ["zzz_Zzzz"]},
            "/input/translate_to/0",
        ),
        ("dance", {}, "/kind"),
        ("", {}, "/kind"),
        (7, {}, "/kind"),
        ({"a": 1}, {}, "/kind"),
    ],
)
def test_wrong_inputs(submit, ledger, kind, given, pointer):
    answer = submit(kind, given)
    assert answer.status_code == 422
    assert pointer in pointers(answer)
    assert len(answer.data) < 4000
    assert ledger.jobs("default").jobs == []


@pytest.mark.parametrize(
    ("envelope", "pointer"),
    [
        ({"models": {"diffuser": "nope"}}, "/models/diffuser"),
        ({"models": {"nope": "tiny"}}, "/models/nope"),
        ({"models": {"diffuser": 5}}, "/models/diffuser"),
        ({"priority": "urgent"}, "/priority"),
        ({"priority": 5}, "/priority"),
        ({"metadata": []}, "/metadata"),
        ({"metadata": {"a": "x" * 17_000}}, "/metadata"),
        ({"deadline_s": 0}, "/deadline_s"),
        ({"deadline_s": "soon"}, "/deadline_s"),
        ({"webhook": {"url": "https://example.org"}}, "/webhook"),
        ({"batch": 1}, "/batch"),
        ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_wrong_envelopes(submit, envelope, pointer):
    answer = submit("generate", {"prompt": "x"}, **envelope)
    assert (answer.status_code, pointers(answer)) == (422, [pointer])


def test_a_field_of_a_later_feature_says_so(submit):
    answer = submit("generate", {"prompt": "x"}, webhook={"url": "https://example.org"})
    assert answer.json["errors"][0]["detail"] == "webhooks are not available yet"


def test_values_are_not_repeated_in_errors(submit):
    answer = submit("generate", {"prompt": "secret" * 10_000})
    assert b"secret" not in answer.data


@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b'"x"', b"{}"])
def test_json_that_is_no_job(http, body):
    answer = http.post("/v1/jobs", data=body, content_type="application/json")
    assert answer.status_code == 422
    assert answer.json["errors"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"kind":' * 1000,
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        rb'{"kind": "\ud800"}',
        b"{'kind': 1}",
    ],
)
def test_what_is_not_json(http, body):
    answer = http.post("/v1/jobs", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    answer = http.post("/v1/jobs", data={"job": (io.BytesIO(body), "job")})
    assert answer.status_code == 400


def test_strange_characters_come_back_as_they_went(submit, http):
    metadata = {"nul": "a\x00b", "emoji": "🟥", "rtl": "\u202eدائرة", "": "empty", "n": 2**70}
    answer = submit("generate", {"prompt": "a\x00b 🟥"}, metadata=metadata)
    assert answer.status_code == 202
    assert http.get(answer.json["urls"]["self"]).json["metadata"] == metadata


def test_other_media_types(http):
    answer = http.post("/v1/jobs", data=b"<job/>", content_type="application/xml")
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert http.post("/v1/jobs", data=b"{}", content_type="").status_code == 415


def test_a_body_over_the_limit(http):
    big = b'{"kind": "' + b"x" * 2**20 + b'"}'
    for data, media_type in ((big, "application/json"), ({"job": big}, "multipart/form-data")):
        answer = http.post("/v1/jobs", data=data, content_type=media_type)
        assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_a_form_with_a_job_of_many_kilobytes(http):
    text = [f"sentence {i} " * 300 for i in range(200)]
    job = {"kind": "translate", "input": {"text": text}}
    assert len(json.dumps(job)) > 600_000
    assert multipart(http, job).status_code == 202


def test_wrong_parts(http, png):
    caption = {"kind": "caption", "input": {}}
    assert pointers(multipart(http, caption, image=png(), second=png())) == ["/second"]
    assert pointers(multipart(http, caption, first=png())) == ["/first"]
    assert pointers(multipart(http, caption)) == ["/input/image"]
    given = {"kind": "caption", "input": {"image": "file_" + "0" * 32}}
    assert pointers(multipart(http, given, image=png())) == ["/input/image"]
    assert pointers(multipart(http, {"kind": "generate", "input": {"prompt": "x"}}, a=png())) == [
        "/a"
    ]
    assert pointers(multipart(http, {"kind": "dance", "input": {}}, image=png())) == ["/kind"]
    assert pointers(multipart(http, {"kind": "caption", "input": []}, image=png())) == ["/input"]
    answer = http.post(
        "/v1/jobs",
        data={"job": json.dumps(caption), "x": "y"},
        content_type="multipart/form-data",
    )
    assert pointers(answer) == ["/x"]
    assert pointers(http.post("/v1/jobs", data={"image": (io.BytesIO(png()), "a")})) == ["/job"]
    twice = [(io.BytesIO(png()), "a"), (io.BytesIO(png()), "b")]
    answer = http.post("/v1/jobs", data={"job": json.dumps(caption), "image": twice})
    assert pointers(answer) == ["/image"]
    many = {f"p{i}": (io.BytesIO(b"x"), "a") for i in range(50)}
    assert http.post("/v1/jobs", data={"job": json.dumps(caption), **many}).status_code == 413


def test_seeds(submit, ledger):
    seeds = {
        ledger.get(submit("generate", {"prompt": "x"}).json["id"]).input["seed"] for _ in range(5)
    }
    assert len(seeds) == 5
    given = submit("generate", {"prompt": "x", "seed": 0}).json["id"]
    assert ledger.get(given).input["seed"] == 0


def test_models_and_priority_reach_the_plan(submit, ledger):
    answer = submit(
        "generate", {"prompt": "x"}, models={"diffuser": "sd15"}, priority="bulk", deadline_s=60
    )
    record = ledger.get(answer.json["id"])
    assert record.steps[0].step.model == "sd15"
    assert record.steps[0].step.batch_class == 8
    assert record.priority == "bulk"
    assert record.deadline_at == record.created_at + 60_000


def test_a_checkpoint_folder_that_a_live_worker_serves_can_be_named(submit, ledger, worker):
    request = {"text": "x", "target": "swh_Latn"}
    assert submit("translate", request, models={"translator": "mine"}).status_code == 422
    worker.announce("translator", "mine")
    answer = submit("translate", request, models={"translator": "mine"})
    assert answer.status_code == 202
    assert ledger.get(answer.json["id"]).steps[0].step.model == "mine"


class TestIdempotency:
    def test_the_same_request_is_one_job(self, submit, broker):
        key = {"Idempotency-Key": "k1"}
        first = submit("generate", {"prompt": "x"}, key)
        again = submit("generate", {"prompt": "x"}, key)
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json["id"] == again.json["id"]
        assert again.headers["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
        assert broker.published == [first.json["id"]]

    def test_another_body_is_refused(self, submit):
        key = {"Idempotency-Key": "k1"}
        submit("generate", {"prompt": "x"}, key)
        answer = submit("generate", {"prompt": "y"}, key)
        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")

    def test_the_same_json_written_otherwise(self, http):
        texts = ('{"kind":"generate","input":{"n":1,"prompt":"é"}}',
                 '{ "input": {"prompt": "\\u00e9", "n": 1}, "kind": "generate" }')  # fmt: skip
        answers = [
            http.post(
                "/v1/jobs",
                data=text.encode(),
                content_type="application/json",
                headers={"Idempotency-Key": "k"},
            )
            for text in texts
        ]
        assert answers[0].json["id"] == answers[1].json["id"]

    def test_parts_count_as_the_body(self, http, png, store):
        key, job = {"Idempotency-Key": "k"}, {"kind": "caption", "input": {}}
        first = multipart(http, job, key, image=png())
        store.down = True  # a repeat needs no storage
        assert multipart(http, job, key, image=png()).json["id"] == first.json["id"]
        assert multipart(http, job, key, image=png("blue")).status_code == 422

    def test_a_refused_request_does_not_use_up_the_key(self, submit):
        key = {"Idempotency-Key": "k"}
        assert submit("generate", {}, key).status_code == 422
        assert submit("generate", {"prompt": "x"}, key).status_code == 202

    def test_many_at_once_are_one_job(self, http, ledger):
        body, ids = {"kind": "generate", "input": {"prompt": "x"}}, []

        def post():
            client = http.application.test_client()
            answer = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
            ids.append(answer.json["id"])

        threads = [threading.Thread(target=post) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ids) == 8
        assert len(set(ids)) == 1
        assert len(ledger.jobs("default").jobs) == 1

    @pytest.mark.parametrize("key", ["", "a\tb", "ключ", "x" * 256])
    def test_wrong_keys(self, http, key):
        answer = http.post(
            "/v1/jobs",
            json={"kind": "generate", "input": {"prompt": "x"}},
            headers={"Idempotency-Key": key.encode().decode("latin-1")},
        )
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == "/headers/Idempotency-Key"


class TestAwayParts:
    def test_the_ledger(self, submit, ledger):
        ledger.down = True
        answer = submit("generate", {"prompt": "x"})
        assert (answer.status_code, answer.json["code"]) == (503, "ledger_unavailable")
        assert answer.headers["Retry-After"]

    def test_the_storage(self, submit, ledger, store, png):
        store.down = True
        answer = submit("caption", {"image": data_uri(png())})
        assert (answer.status_code, answer.json["code"]) == (503, "storage_unavailable")
        assert ledger.jobs("default").jobs == []

    def test_the_broker_is_not_needed(self, submit, broker, http):
        broker.down = True
        answer = submit("generate", {"prompt": "x"})
        assert answer.status_code == 202
        assert http.get(answer.json["urls"]["self"]).json["status"] == "queued"

    def test_a_file_that_goes_in_between(self, submit, ledger, png, monkeypatch):
        put_file = ledger.put_file

        def put_and_lose(record):
            kept = put_file(record)
            ledger.delete_file("default", record.id)
            return kept

        monkeypatch.setattr(ledger, "put_file", put_and_lose)
        answer = submit("caption", {"image": data_uri(png())})
        assert answer.status_code == 422


class TestWait:
    def test_a_job_that_ends_in_time(self, submit, worker, ledger):
        def work():
            while not (page := ledger.jobs("default").jobs):
                time.sleep(0.01)
            worker.finish(page[0].id, {"translation": "x"})

        thread = threading.Thread(target=work)
        thread.start()
        started = time.monotonic()
        answer = submit("translate", {"text": "x"}, {"Prefer": "respond-async, wait=60"})
        thread.join()
        assert time.monotonic() - started < 50
        assert (answer.status_code, answer.json["status"]) == (200, "succeeded")
        assert answer.headers["Preference-Applied"] == "wait=60"

    def test_an_expired_wait(self, submit):
        started = time.monotonic()
        answer = submit("generate", {"prompt": "x"}, {"Prefer": "wait=1"})
        assert time.monotonic() - started > 0.9
        assert (answer.status_code, answer.json["status"]) == (202, "queued")

    def test_no_wait(self, submit):
        for prefer in ("wait=0", "wait=x", "await=5", "return=minimal"):
            answer = submit("generate", {"prompt": "x"}, {"Prefer": prefer})
            assert answer.status_code == 202
            assert answer.headers.get("Preference-Applied") in (None, "wait=0")

    def test_the_longest_wait_is_a_minute_and_ends_with_the_process(self, submit):
        threading.Timer(0.3, shutdown.begin).start()
        started = time.monotonic()
        answer = submit("generate", {"prompt": "x"}, {"Prefer": "wait=9999"})
        assert time.monotonic() - started < 50
        assert answer.headers["Preference-Applied"] == "wait=60"
        assert answer.status_code == 202

    def test_a_ledger_lost_while_waiting_takes_nothing_back(self, submit, ledger):
        threading.Timer(0.3, lambda: setattr(ledger, "down", True)).start()
        answer = submit("generate", {"prompt": "x"}, {"Prefer": "wait=20"})
        ledger.down = False
        assert (answer.status_code, answer.json["status"]) == (202, "queued")
