"""Training on the real stack: two stages, one of them killed, and a job with what they made."""

import csv
import io
import json
import os
import signal
import urllib.request
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from imagemill import ApiError, Client
from PIL import Image

from tests.waiting import PATIENCE_S, until
from workers.training.panorama.landscapes import landscape

SIZE = 64  # of the tiny model
EPOCHS, BATCHES = 6, 5  # 24 pictures, of which 4 are held out, in batches of 4


@pytest.fixture(scope="module")
def client(stack):
    with Client(stack.api_url) as client:
        yield client


def png(seed: int, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(landscape(seed, SIZE, width)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def dataset(client) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "drawn landscapes")
        for number in range(24):
            archive.writestr(f"pictures/{number}.png", png(number, 4 * SIZE))
    return client.files.upload(buffer.getvalue(), "dataset").id


@pytest.fixture
def train(client, dataset) -> Callable[..., Any]:
    fields = {"kind": "panorama_training", "dataset": dataset, "held_out": 4, "seed": 1}
    models = {"panorama_trainer": "tiny"}
    return lambda **given: client.jobs.create(**{**fields, **given}, models=models)


def kill_model_process(client) -> None:
    [trainer] = [worker.raw for worker in client.workers() if worker.family == "panorama_trainer"]
    assert trainer["slots"] == 1
    os.kill(trainer["model_pid"], signal.SIGKILL)


def test_two_stages_make_a_model_that_jobs_use(client, stack, dataset, train, tmp_path):
    job = train(name="alps-first", batch_size=4, epochs=EPOCHS)
    running = until(lambda: (j := client.jobs.get(job.id)).progress.value >= 0.2 and j)
    assert running.raw["progress"]["metrics"].keys() >= {"pixel", "images_per_s"}
    until(lambda: [e for e in stack.store.list(f"jobs/{job.id}/") if "/savepoint/" in e.key])
    kill_model_process(client)
    first = client.wait(job, timeout=PATIENCE_S)
    names = {path.name for path in client.download(first, tmp_path)}
    assert names >= {"config.json", "model.safetensors", "discriminator.safetensors", "losses.svg"}
    assert {f"samples-{number:03}.png" for number in range(1, 9)} <= names
    rows = list(csv.DictReader((tmp_path / "losses.csv").open()))
    places = [(int(row["epoch"]), int(row["batch"])) for row in rows]
    assert places == [(epoch, batch) for epoch in range(EPOCHS) for batch in range(BATCHES)]
    outputs = first.raw["outputs"]
    assert outputs["trained_model"] == "alps-first"
    assert outputs["pictures"] == {"trained": 20, "held_out": 4, "not images": 1}

    job = train(name="alps", stage="finetune", start_from="alps-first", batch_size=4, epochs=2)
    second = client.wait(job, timeout=PATIENCE_S)
    assert second.raw["outputs"]["start_from"] == "alps-first"
    assert second.raw["outputs"]["losses"].keys() >= {"pixel", "discriminator", "adversarial"}
    states = {model.name: model.raw["state"] for model in client.models()}
    assert states["alps"] == states["alps-first"] == "trained"

    def blend(model: str) -> Any:
        sides = {"left": png(100, SIZE), "right": png(101, SIZE)}
        return client.jobs.create(kind="panorama", **sides, models={"panorama": model})

    pictures = []
    for model in ("alps-first", "alps"):
        done = client.wait(blend(model), timeout=PATIENCE_S)
        [picture] = client.download(done, tmp_path / model)
        assert Image.open(picture).size == (3 * SIZE, SIZE)
        pictures.append(picture.read_bytes())
    assert pictures[0] != pictures[1]

    chosen = {"panorama": "alps", "panorama_trainer": "tiny"}
    job = client.jobs.create(kind="panorama_evaluation", dataset=dataset, models=chosen)
    evaluated = client.wait(job, timeout=PATIENCE_S)
    outputs = evaluated.raw["outputs"]
    assert (outputs["model"], outputs["real"], outputs["generated"]) == ("alps", 24, 48)
    files = {path.name: path for path in client.download(evaluated, tmp_path / "evaluation")}
    assert Image.open(files["samples.png"]).size == (2 * 3 * SIZE, 4 * SIZE)
    assert json.loads(files["evaluation.json"].read_bytes())["fid"] == outputs["fid"]

    request = urllib.request.Request(f"{client.url}/v1/models/panorama/alps", method="DELETE")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 204
    with pytest.raises(ApiError, match="no such model: alps"):
        blend("alps")


def test_too_few_pictures_are_counted(client, train):
    job = train(batch_size=21, name="few")
    until(lambda: client.jobs.get(job.id).done)
    error = client.jobs.get(job.id).raw["error"]
    assert error["code"] == "invalid_request"
    assert "24 of 25 files are usable pictures, and 25 are needed, 1 not images" in error["message"]
