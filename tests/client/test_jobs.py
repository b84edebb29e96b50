"""What is sent for a job, and what comes back."""

import io
import json

import pytest
from imagemill import InvalidInput, JobFailed, WaitTimeout


@pytest.fixture
def submitted(client, service, make):
    """Submits, and returns the job's JSON and the files as they arrived."""
    service.on_job(make.job("job_1", "queued"))

    def submit(**arguments):
        client.jobs.create(**arguments)
        request = service.requests[-1]
        if request.headers["content-type"] == "application/json":
            return json.loads(request.body), {}
        parts = request.parts
        return json.loads(parts.pop("job")), parts

    return submit


def test_references_travel_as_json(submitted):
    job, files = submitted(
        kind="blend", first="file_0a1b", second="s3://bucket/b.png", translate_to=["arb_Arab"]
    )
    fields = {"first": "file_0a1b", "second": "s3://bucket/b.png", "translate_to": ["arb_Arab"]}
    assert job == {"kind": "blend", "input": fields}
    assert files == {}


def test_a_data_uri_is_a_reference(submitted):
    job, files = submitted(kind="caption", image="data:image/png;base64,AA==")
    assert job["input"] == {"image": "data:image/png;base64,AA=="}
    assert files == {}


def test_local_pictures_travel_beside_the_job(submitted, tmp_path):
    (tmp_path / "a.png").write_bytes(b"first")
    with (tmp_path / "a.png").open("rb") as open_file:
        job, files = submitted(kind="blend", first=str(tmp_path / "a.png"), second=open_file, n=2)
    assert job["input"] == {"n": 2}
    assert files == {"first": b"first", "second": b"first"}

    job, files = submitted(kind="composite", source=b"1", mask=io.BytesIO(b"2"), target=b"3")
    assert files == {"source": b"1", "mask": b"2", "target": b"3"}


def test_a_file_with_the_look_of_an_id_is_a_file(submitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file_1.png").write_bytes(b"1")
    assert submitted(kind="caption", image="file_1.png")[1] == {"image": b"1"}


def test_texts_are_never_files(submitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eng_Latn").write_bytes(b"1")
    job, files = submitted(kind="translate", text="eng_Latn", source="eng_Latn")
    assert job["input"] == {"text": "eng_Latn", "source": "eng_Latn"}
    assert files == {}


def test_a_kind_that_the_client_does_not_know_takes_paths(submitted, tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    assert submitted(kind="sketch", photo=tmp_path / "a.png")[1] == {"photo": b"1"}


def test_options_of_the_job(submitted, service):
    job, _ = submitted(
        kind="generate",
        prompt="a circle",
        seed=None,
        models={"diffuser": "sd15"},
        priority="bulk",
        metadata={"k": "v"},
        deadline_s=9,
        idempotency_key="mine",
        wait=2.5,
    )
    assert job == {
        "kind": "generate",
        "input": {"prompt": "a circle"},
        "models": {"diffuser": "sd15"},
        "priority": "bulk",
        "metadata": {"k": "v"},
        "deadline_s": 9,
    }
    assert service.requests[-1].headers["idempotency-key"] == "mine"
    assert service.requests[-1].headers["prefer"] == "wait=3"


@pytest.mark.parametrize("image", ["missing.png", ".", io.StringIO("text")])
def test_a_file_that_cannot_be_read_is_told_before_anything_is_sent(client, service, image):
    with pytest.raises(InvalidInput, match="image: "):
        client.jobs.create(kind="caption", image=image)
    assert service.requests == []


def test_a_job_is_typed_and_keeps_the_whole_answer(client, service, make):
    step = {"name": "caption", "status": "failed", "family": "captioner", "new": 1}
    error = {"code": "out_of_memory", "message": "8 GB wanted", "step": "caption"}
    image = {**make.artifact("image-0.png", b"1"), "seed": 7, "width": 64, "height": 64}
    outputs = {"images": [image], "artifacts": [make.artifact("image-0.png", b"1")]}
    raw = make.job("job_1", "failed", steps=[step], error=error, outputs=outputs, new="field")
    service.on_job(raw)

    job = client.jobs.get("job_1")

    assert (job.id, job.status, job.done, job.succeeded) == ("job_1", "failed", True, False)
    assert (job.steps[0].family, job.steps[0].raw["new"]) == ("captioner", 1)
    assert (job.error.code, job.error.step) == ("out_of_memory", "caption")
    assert [(a.name, a.seed, a.width) for a in job.artifacts] == [("image-0.png", 7, 64)]
    assert job.raw == raw


def test_listing_page_by_page(client, service, make):
    first = {"data": [make.job("job_2", "queued")], "has_more": True, "next": "c1"}
    second = {"data": [make.job("job_1", "queued")], "has_more": False, "next": None}
    service.on("GET", "/v1/jobs", first, second)

    jobs = list(client.jobs.iterate(status="queued"))

    assert [job.id for job in jobs] == ["job_2", "job_1"]
    asked = [request.query for request in service.requests]
    assert asked == [{"status": ["queued"]}, {"status": ["queued"], "after": ["c1"]}]


def test_cancel(client, service, make):
    service.on("POST", "/v1/jobs/job_1/cancel", make.job("job_1", "canceling"))
    assert client.jobs.cancel("job_1").status == "canceling"


def test_waiting_tells_every_change(client, service, make):
    halfway = make.job("job_1", "running", progress={"value": 0.5, "message": "step 1 of 2"})
    states = [make.job("job_1", "queued"), halfway, halfway, make.job("job_1", "succeeded")]
    service.on_job(*states)
    seen = []

    job = client.wait(
        "job_1", on_progress=lambda job: seen.append((job.status, job.progress.value))
    )

    assert job.succeeded
    assert seen == [("queued", 0.0), ("running", 0.5), ("succeeded", 1.0)]


@pytest.mark.parametrize("status", ["failed", "canceled", "expired"])
def test_waiting_for_a_job_that_ends_badly(client, service, make, status):
    error = (
        {"code": "poison", "message": "it crashed", "step": None} if status == "failed" else None
    )
    service.on_job(make.job("job_1", status, error=error))

    with pytest.raises(JobFailed, match=f"job_1 {status}") as caught:
        client.wait("job_1")

    assert caught.value.job.status == status


def test_waiting_no_longer_than_asked(client, service, make):
    service.on_job(make.job("job_1", "running"))

    with pytest.raises(WaitTimeout, match=r"still running after 0\.2 s") as caught:
        client.wait("job_1", timeout=0.2)

    assert caught.value.job.id == "job_1"
