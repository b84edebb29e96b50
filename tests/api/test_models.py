"""Trained models: how they are listed, removed, and named by jobs."""

import base64

import pytest

from shared.contracts import TrainedOutput
from shared.trained_models import TrainedModels


@pytest.fixture
def file(store):
    """Of the trained model `alps`."""
    models = TrainedModels(store)
    trained = TrainedOutput("panorama", "alps", ("model.safetensors",), {"size": 30})
    file = models.put_file(trained, "model.safetensors", b"weights")
    models.register(trained, "job_1", {"model.safetensors": file})
    return file


def listed(http):
    return {model["id"]: model for model in http.get("/v1/models").json["data"]}


def test_a_trained_model_is_listed_and_available_with_any_worker(http, file, worker):
    model = listed(http)["panorama/alps"]
    assert (model["name"], model["state"], model["available"]) == ("alps", "trained", False)
    worker.announce("panorama", "trained")
    assert listed(http)["panorama/alps"]["available"] is True
    assert "panorama/trained" not in listed(http)


def test_a_trained_model_tells_where_it_comes_from(http, file):
    model = http.get("/v1/models/panorama/alps").json
    assert (model["job"], model["about"]) == ("job_1", {"size": 30})
    assert model["files"] == {"model.safetensors": {"sha256": file.sha256, "bytes": 7}}


def test_a_trained_model_is_removed(http, file, store):
    path = "/v1/models/panorama/alps"
    assert http.delete(path).status_code == 204
    assert store.objects == {}
    for answer in (http.get(path), http.delete(path), http.delete("/v1/models/panorama/tiny")):
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_a_job_is_planned_with_the_weights_of_its_model(http, submit, file, ledger, png):
    pictures = {"left": "data:image/png;base64,", "right": "data:image/png;base64,"}
    encoded = base64.b64encode(png()).decode()
    given = {name: prefix + encoded for name, prefix in pictures.items()}
    answer = submit("panorama", given, models={"panorama": "alps"})
    assert answer.status_code == 202
    [step] = ledger.get(answer.json["id"]).steps
    assert (step.step.family, step.step.model) == ("panorama", "trained")
    assert step.step.params["weights"] == {
        "model": "alps",
        "files": {"model.safetensors": file.model_dump()},
    }
    small = "data:image/png;base64," + base64.b64encode(png(size=(40, 29))).decode()
    answer = submit("panorama", {**given, "right": small}, models={"panorama": "alps"})
    assert answer.json["errors"][0]["pointer"] == "/input/right"
    assert "none smaller than 30×30" in answer.json["detail"]
    for name in ("nonesuch", "trained"):
        answer = submit("panorama", given, models={"panorama": name})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == "/models/panorama"
