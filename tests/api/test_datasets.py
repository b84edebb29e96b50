"""Pictures for training: archives that are uploaded, S3 prefixes, and jobs that name them."""

import io
import json
import zipfile

import pytest

from shared import archives
from shared.contracts import TrainedOutput
from shared.trained_models import TrainedModels


def packed(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def upload(http, data, purpose="dataset"):
    return http.post("/v1/files", data={"file": (io.BytesIO(data), "a.zip"), "purpose": purpose})


def pointers(answer):
    return [error["pointer"] for error in answer.json["errors"]]


@pytest.fixture
def dataset(http, png):
    return upload(http, packed(notes=b"hello", picture=png())).json["id"]


@pytest.fixture
def train(submit):
    def train(dataset, **fields):
        models = {"panorama_trainer": "tiny"}
        return submit("panorama_training", {"dataset": dataset, **fields}, models=models)

    return train


def test_an_archive_with_a_picture_is_kept(http, png, store, ledger):
    data = packed(notes=b"hello", picture=png())
    answer = upload(http, data)
    record = answer.json
    assert answer.status_code == 201
    assert (record["media_type"], record["bytes"]) == ("application/zip", len(data))
    assert (record["width"], record["height"]) == (None, None)
    assert ledger.get_file("default", record["id"]).purpose == "dataset"
    content = http.get(f"/v1/files/{record['id']}/content")
    assert (content.data, content.mimetype) == (data, "application/zip")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "not a zip, tar or tar.gz"),
        (packed(notes=b"hello"), "no image is in it"),
        (packed(**{"../a.png": b""}), "leads out of the archive"),
        (packed(bomb=bytes(archives.ALWAYS_BYTES + 1)), "more than 20 times the archive's bytes"),
    ],
)
def test_an_archive_that_is_none(http, store, data, words):
    answer = upload(http, data)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_archive")
    assert answer.mimetype == "application/problem+json"
    assert words in answer.json["detail"]
    assert pointers(answer) == ["/file"]
    assert store.objects == {}


def test_a_training_keeps_its_data_set(train, dataset, ledger):
    answer = train(dataset)
    assert answer.status_code == 202
    job = ledger.get(answer.json["id"])
    assert job.files == (dataset,)
    assert job.input["dataset"] == dataset
    assert job.input["name"].startswith("panorama-")


def test_an_archive_may_come_with_its_job(http, png, ledger, store):
    def post(data):
        given = {"kind": "panorama_training", "input": {}, "models": {"panorama_trainer": "tiny"}}
        parts = {"job": json.dumps(given), "dataset": (io.BytesIO(data), "a.zip")}
        return http.post("/v1/jobs", data=parts)

    job = ledger.get(post(packed(picture=png())).json["id"])
    assert ledger.get_file("default", job.input["dataset"]).purpose == "dataset"
    assert job.files == (job.input["dataset"],)
    answer = post(b"hello")
    assert (answer.status_code, pointers(answer)) == (422, ["/input/dataset"])
    assert len(store.objects) == 1


def test_a_file_is_what_it_was_uploaded_for(http, png, train, submit, dataset):
    picture = upload(http, png(), "image").json["id"]
    answer = train(picture)
    assert (answer.status_code, pointers(answer)) == (422, ["/input/dataset"])
    assert "the purpose image" in answer.json["detail"]
    answer = submit("caption", {"image": dataset})
    assert (answer.status_code, pointers(answer)) == (422, ["/input/image"])
    assert pointers(train("file_" + "0" * 32)) == ["/input/dataset"]


def test_a_prefix_that_is_allowed_and_has_something(train, store, ledger):
    store.objects["photos", "in/1.png"] = b"x"
    job = ledger.get(train("s3://photos/in/").json["id"])
    assert (job.input["dataset"], job.files) == ("s3://photos/in/", ())


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("s3://photos/in/", "nothing below it"),
        ("s3://photos/", "not under a prefix"),
        ("s3://photos/in/../", "not under a prefix"),
        ("s3://photos/in/1.png", "does not end in /"),
        ("data:image/png;base64,", "neither file_"),
    ],
)
def test_a_prefix_that_is_not(train, store, reference, words):
    store.objects["photos", "inner/1.png"] = b"x"
    store.objects["photos", "in/1.png.old"] = b"x"
    if reference == "s3://photos/in/":
        store.objects.clear()
    answer = train(reference)
    assert (answer.status_code, pointers(answer)) == (422, ["/input/dataset"])
    assert words in answer.json["detail"]


def test_models_that_are_not_there_or_have_the_name_already(train, dataset, store):
    TrainedModels(store).register(TrainedOutput("panorama", "alps", (), {}), "job_1", {})
    answer = train(dataset, start_from="nonesuch")
    assert (answer.status_code, pointers(answer)) == (422, ["/input/start_from"])
    for taken in ("alps", "tiny"):
        answer = train(dataset, start_from="alps", name=taken)
        assert (answer.status_code, pointers(answer)) == (422, ["/input/name"])
        assert f"there is a model of this name: {taken}" in answer.json["detail"]
    assert train(dataset, start_from="alps", name="alps-2").status_code == 202
