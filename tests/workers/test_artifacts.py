"""What a step made, as it is stored: the same request gives the same bytes."""

import io
from hashlib import sha256

from PIL import Image

from shared.contracts import (
    FileOutput,
    ImageOutput,
    JobRecord,
    Priority,
    Produced,
    Step,
    StepOutput,
    StepRecord,
)
from shared.images import read_recipe
from workers.artifacts import encoded

FOLDER = "jobs/job_1/1-composite/a2/"


def job(job_id: str) -> JobRecord:
    """One whose first step is done, and whose second one runs."""
    first = Step(name="caption", family="captioner", model="c", params={})
    second = Step(name="composite", family="compositor", model="m", params={"steps": 9})
    return JobRecord(
        id=job_id,
        tenant="t",
        kind="composite",
        version=1,
        status="running",
        priority=Priority.BULK,
        input={},
        metadata={},
        created_at=0,
        expires_at=1,
        retention_ms=1,
        files=(),
        steps=(StepRecord(step=first, output=StepOutput(revision="r0")), StepRecord(step=second)),
        current=1,
        fence=2,
    )


def test_pictures_carry_their_recipe_and_files_are_left_as_they_are() -> None:
    picture = ImageOutput("first_pass.png", Image.new("RGB", (9, 5), "red"), seed=3)
    film = FileOutput("process.mp4", b"film", "video/mp4")
    produced = Produced(images=(picture,), files=(film,), recipe={"x": 4})
    (image, png), (video, data) = encoded(
        job("job_1"), job("job_1").steps[1].step, "r1", produced, FOLDER
    )
    assert read_recipe(png) == {
        "kind": "composite",
        "models": {
            "captioner": {"model": "c", "revision": "r0"},
            "compositor": {"model": "m", "revision": "r1"},
        },
        "prompt": None,
        "negative_prompt": None,
        "parameters": {"steps": 9, "x": 4},
        "seed": 3,
    }
    assert Image.open(io.BytesIO(png)).size == (image.width, image.height) == (9, 5)
    assert (image.media_type, image.seed) == ("image/png", 3)
    assert (data, video.media_type, video.width, video.seed) == (b"film", "video/mp4", None, None)
    for artifact, stored in ((image, png), (video, data)):
        assert artifact.key == FOLDER + artifact.name
        assert (artifact.bytes, artifact.sha256) == (len(stored), sha256(stored).hexdigest())


def test_the_job_is_not_in_the_bytes() -> None:
    produced = Produced(images=(ImageOutput("a.png", Image.new("RGB", (9, 5))),))
    first, second = (
        [data for _, data in encoded(each, each.steps[1].step, "r1", produced, FOLDER)]
        for each in (job("job_1"), job("job_2"))
    )
    assert first == second
