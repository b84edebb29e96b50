"""Uploads, and downloads over a redirect to storage."""

import pytest
from imagemill import ApiError, ImagemillError, IntegrityError, InvalidInput, ServiceUnavailable


@pytest.fixture
def finished(service, storage, make):
    """A job with one picture, which the service redirects to storage for."""

    def prepare(name="image-0.png", recorded=make.png, stored=make.png):
        image = make.artifact(name, recorded)
        service.on_job(make.job("job_1", "succeeded", outputs={"artifacts": [image]}))
        address = f"{storage.url}/bucket/key?X-Amz-Signature=abc"
        service.on("GET", f"/v1/jobs/job_1/artifacts/{name}", (302, {"Location": address}, b""))
        storage.on("GET", "/bucket/key", stored)
        return "job_1"

    return prepare


def test_download_checks_and_keeps_the_key_from_storage(
    client, service, storage, finished, make, tmp_path
):
    paths = client.download(finished(), tmp_path / "new" / "out")

    assert paths == [tmp_path / "new" / "out" / "image-0.png"]
    assert paths[0].read_bytes() == make.png
    assert service.requests[-1].headers["authorization"] == "Bearer the-key"
    assert storage.requests[0].query == {"X-Amz-Signature": ["abc"]}
    assert "authorization" not in storage.requests[0].headers


def test_other_bytes_than_recorded_are_not_kept(client, finished, tmp_path):
    (tmp_path / "image-0.png").write_bytes(b"old")

    with pytest.raises(IntegrityError, match=r"image-0\.png of job_1"):
        client.download(finished(stored=b"other"), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["image-0.png"]
    assert (tmp_path / "image-0.png").read_bytes() == b"old"


def test_a_download_cut_short_starts_again(client, storage, finished, make, tmp_path):
    job = finished()
    storage.faults = [(200, {"Content-Length": "500"}, b"half a picture"), make.drop]

    assert client.download(job, tmp_path)[0].read_bytes() == make.png
    assert len(storage.requests) == 3


def test_storage_that_stays_away(client, storage, finished, tmp_path):
    job = finished()
    storage.on("GET", "/bucket/key", (503, {}, b"<Error>SlowDown</Error>"))

    with pytest.raises(ServiceUnavailable, match=f"{storage.url} answered 503"):
        client.download(job, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_storage_that_refuses(client, storage, finished, tmp_path):
    job = finished()
    storage.on("GET", "/bucket/key", (403, {}, b"<Error>expired</Error>"))

    with pytest.raises(ApiError) as caught:
        client.download(job, tmp_path)

    assert caught.value.status == 403
    assert "X-Amz" not in str(caught.value)


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil", "..", "a\\b"])
def test_a_name_never_leads_out_of_the_folder(client, finished, tmp_path, name):
    with pytest.raises(ImagemillError, match="unsafe name"):
        client.download(finished(name), tmp_path / "out")
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


def test_an_answer_without_redirect_will_do(client, service, finished, make, tmp_path):
    job = finished()
    service.on("GET", "/v1/jobs/job_1/artifacts/image-0.png", make.png)
    assert client.download(job, tmp_path)[0].read_bytes() == make.png


def test_files(client, service, make, tmp_path):
    (tmp_path / "a.png").write_bytes(make.png)
    service.on("POST", "/v1/files", (201, {}, {"id": "file_1", "bytes": 12, "new": True}))
    service.on("GET", "/v1/files/file_1", {"id": "file_1", "width": 64})
    service.on("GET", "/v1/files/file_1/content", make.png)
    service.on("DELETE", "/v1/files/file_1", (204, {}, b""))

    uploaded = client.files.upload(tmp_path / "a.png")

    assert (uploaded.id, uploaded.bytes, uploaded.raw["new"]) == ("file_1", 12, True)
    assert service.requests[0].parts == {"file": make.png, "purpose": b"image"}
    assert client.files.get("file_1").width == 64
    assert client.files.content("file_1") == make.png
    assert client.files.delete("file_1") is None
    with pytest.raises(InvalidInput):
        client.files.upload(tmp_path / "missing.png")
