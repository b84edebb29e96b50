"""Retries, refusals and answers that make no sense."""

import socket

import pytest
from imagemill import ApiError, Client, ImagemillError, InvalidInput, ServiceUnavailable


def test_sending_again_after_a_lost_connection_keeps_the_idempotency_key(client, service, make):
    service.on_job(make.job("job_1", "queued"))
    service.faults = [make.drop, make.drop]

    assert client.jobs.create(kind="generate", prompt="a circle").id == "job_1"

    keys = {request.headers["idempotency-key"] for request in service.requests}
    assert len(service.requests) == 3
    assert len(keys) == 1
    client.jobs.create(kind="generate", prompt="a circle")
    assert service.requests[-1].headers["idempotency-key"] not in keys


def test_a_file_is_whole_in_every_try(client, service, make, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(make.png)
    service.on_job(make.job("job_1", "queued"))
    service.faults = [(503, {}, {})]

    client.jobs.create(kind="caption", image=picture)

    assert [request.parts["image"] for request in service.requests] == [make.png] * 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_service_is_asked_again(client, service, sleeps, status):
    service.on("GET", "/v1/models", {"data": []})
    service.faults = [(status, {}, b"busy")] * 3

    assert client.models() == []
    assert len(sleeps) == 3
    assert sleeps[0] < sleeps[1] < sleeps[2]


def test_the_pause_is_the_one_that_the_service_asks_for(client, service, sleeps):
    service.on("GET", "/v1/models", {"data": []})
    service.faults = [(429, {"Retry-After": "7"}, {})]

    client.models()

    assert sleeps == [7.0]


def test_a_date_in_retry_after_is_understood(client, service, sleeps):
    service.on("GET", "/v1/models", {"data": []})
    service.faults = [(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, {})]

    client.models()

    assert 0 < sleeps[0] < 1


def test_a_very_long_pause_is_not_taken(client, service, sleeps):
    service.faults = [(429, {"Retry-After": "3600"}, {"code": "quota", "detail": "come tomorrow"})]

    with pytest.raises(ApiError, match="come tomorrow") as caught:
        client.models()

    assert (caught.value.status, caught.value.code) == (429, "quota")
    assert sleeps == []


def test_tries_are_bounded(service, sleeps):
    service.on("GET", "/v1/workers", (503, {}, {"detail": "the ledger does not answer"}))

    with (
        Client(service.url, retries=2) as client,
        pytest.raises(ServiceUnavailable, match="ledger"),
    ):
        client.workers()

    assert len(service.requests) == 3
    assert len(sleeps) == 2


def test_a_service_that_is_not_there(sleeps):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"

    with Client(url) as client, pytest.raises(ServiceUnavailable, match=f"cannot reach {url}"):
        client.models()

    assert len(sleeps) == 5


def test_a_refusal_is_final_and_names_the_fields(client, service, sleeps):
    errors = [{"pointer": "/input/n", "detail": "at most 10"}]
    problem = {"code": "invalid_request", "detail": "1 field is wrong", "errors": errors}
    service.on("POST", "/v1/jobs", (422, {"Content-Type": "application/problem+json"}, problem))

    with pytest.raises(ApiError) as caught:
        client.jobs.create(kind="generate", prompt="a circle", n=11)

    error = caught.value
    assert (error.status, error.code, error.message) == (422, "invalid_request", "1 field is wrong")
    assert error.errors == errors
    assert str(error) == "/input/n: at most 10"
    assert sleeps == []


@pytest.mark.parametrize("answer", [b"<html>", [], {"data": 1}, {"data": [1]}, {"data": [{}]}])
def test_an_answer_of_something_else(client, service, answer):
    service.on("GET", "/v1/models", answer)

    with pytest.raises(ServiceUnavailable):
        client.models()


def test_a_refusal_without_a_document(client, service):
    service.on("GET", "/v1/jobs/job_1", (500, {}, b"<html>"))

    with pytest.raises(ApiError, match="answered 500 Internal Server Error"):
        client.jobs.get("job_1")


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://host:port"])
def test_a_url_that_is_none(url):
    with pytest.raises(InvalidInput):
        Client(url)


def test_settings_from_the_environment(service, monkeypatch):
    service.on("GET", "/v1/models", {"data": []})
    monkeypatch.setenv("IMAGEMILL_URL", f"{service.url}/")
    monkeypatch.setenv("IMAGEMILL_API_KEY", "from-env\n")

    with Client() as client:
        client.models()

    assert service.requests[0].headers["authorization"] == "Bearer from-env"


def test_no_key_no_header(service):
    service.on("GET", "/v1/models", {"data": []})
    with Client(service.url) as client:
        client.models()
    assert "authorization" not in service.requests[0].headers


def test_all_errors_have_one_base():
    for error in (ApiError, InvalidInput, ServiceUnavailable):
        assert issubclass(error, ImagemillError)
