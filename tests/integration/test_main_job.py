"""The main jobs, end to end, judged by what the pictures show."""

import io
import json
from hashlib import sha256

import httpx
import numpy as np
import pytest
from imagemill import Client, JobFailed
from PIL import Image

from shared.images import decode, read_recipe
from tests import texts
from tests.waiting import PATIENCE_S
from workers.training import judge
from workers.training.world import Scene, box, caption, render

RED_CIRCLE = Scene("circle", "red", "large", "white")
BLUE_SQUARE = Scene("square", "blue", "large", "gray")


def png(scene: Scene, width: int = 256, height: int = 256) -> bytes:
    buffer = io.BytesIO()
    render(scene, width, height).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def client(stack):
    with Client(stack.api_url) as client:
        yield client


def finish(client, **request):
    job = client.wait(client.jobs.create(**request).id, timeout=PATIENCE_S)
    assert job.status == "succeeded", job.raw
    return job.raw


def picture(client, job, index=0):
    image = job["outputs"]["images"][index]
    data = httpx.get(image["url"], follow_redirects=True).content
    assert sha256(data).hexdigest() == image["sha256"]
    assert len(data) == image["bytes"]
    return data


def test_caption_is_exact(client):
    job = finish(client, kind="caption", image=png(RED_CIRCLE))
    assert job["outputs"]["caption"] == caption(RED_CIRCLE)


def test_translation_is_exact_in_every_language(client):
    texts = [caption(RED_CIRCLE), caption(BLUE_SQUARE)]
    job = finish(client, kind="translate", text=texts, target="fra_Latn")
    assert job["outputs"]["translation"] == [
        caption(RED_CIRCLE, "fra_Latn"),
        caption(BLUE_SQUARE, "fra_Latn"),
    ]
    job = finish(client, kind="translate", text=texts[0])
    assert job["outputs"]["translation"] == "دائرة حمراء كبيرة على خلفية بيضاء"


def test_blend_paints_the_second_picture_as_the_first_is_captioned(client):
    job = finish(
        client,
        kind="blend",
        first=png(RED_CIRCLE),
        second=png(BLUE_SQUARE),
        translate_to=["arb_Arab", "fra_Latn"],
        seed=7,
    )
    assert [step["family"] for step in job["steps"]] == ["captioner", "translator", "diffuser"]
    assert all(step["status"] == "succeeded" and step["revision"] for step in job["steps"])
    assert job["outputs"]["caption"] == job["outputs"]["prompt"] == caption(RED_CIRCLE)
    assert job["outputs"]["translations"] == {
        language: caption(RED_CIRCLE, language) for language in ("arb_Arab", "fra_Latn")
    }
    data = picture(client, job)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)
    assert pixels.shape == (64, 64, 3)
    left, top, right, bottom = (round(edge) for edge in box(BLUE_SQUARE, 64, 64))
    middle = pixels[top + 8 : bottom - 8, left + 8 : right - 8].mean((0, 1))
    assert middle[0] > middle[1] + 40, middle
    assert middle[0] > middle[2] + 40, middle
    recipe = read_recipe(data)
    assert recipe["prompt"] == caption(RED_CIRCLE)
    assert recipe["seed"] == 7
    assert recipe["models"]["diffuser"]["model"] == "tiny"
    assert json.dumps(recipe).count("job_") == 0


def test_generate_draws_n_pictures_each_from_its_own_seed(client):
    scene = Scene("square", "green", "large", "white")
    three = finish(client, kind="generate", prompt=caption(scene), n=3, seed=40)
    assert [image["seed"] for image in three["outputs"]["images"]] == [40, 41, 42]
    digests = [image["sha256"] for image in three["outputs"]["images"]]
    assert len(set(digests)) == 3
    alone = finish(client, kind="generate", prompt=caption(scene), seed=41)
    assert alone["outputs"]["images"][0]["sha256"] == digests[1]
    drawn = judge.judge(Image.open(io.BytesIO(picture(client, three))).convert("RGB"))
    assert (drawn.colour, drawn.background) == ("green", "white")


def test_bulk_pictures_have_the_same_bytes_alone_and_in_company(client):
    request = {"kind": "generate", "prompt": caption(RED_CIRCLE), "seed": 5, "priority": "bulk"}
    alone = finish(client, **request)
    company = [
        client.jobs.create(
            kind="generate", prompt=caption(BLUE_SQUARE), n=5, seed=i, priority="bulk"
        )
        for i in range(3)
    ]
    together = finish(client, **request)
    for job in company:
        client.wait(job.id, timeout=PATIENCE_S)
    sizes = {step["batch_class"] for job in (alone, together) for step in job["steps"]}
    assert sizes == {8}
    assert alone["outputs"]["images"][0]["sha256"] == together["outputs"]["images"][0]["sha256"]


def test_reimagine_reads_translates_and_draws(client):
    job = finish(client, kind="reimagine", image=png(BLUE_SQUARE), n=2)
    assert job["outputs"]["caption"] == caption(BLUE_SQUARE)
    assert job["outputs"]["translations"] == {"arb_Arab": caption(BLUE_SQUARE, "arb_Arab")}
    assert len(job["outputs"]["images"]) == 2


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what colour is the shape?", "red"),
        ("what shape is it?", "circle"),
        ("is it large?", "yes"),
        ("what colour is the background?", "white"),
    ],
)
def test_a_question_is_answered(client, question, answer):
    job = finish(client, kind="vqa", image=png(RED_CIRCLE), question=question)
    assert job["outputs"]["answer"] == answer


def test_text_is_read_and_shown(client):
    page = texts.render(["OPEN DAILY", "from 9 to 18"])
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    job = finish(client, kind="ocr", image=buffer.getvalue())
    assert job["outputs"]["text"] == "OPEN DAILY from 9 to 18"
    assert all(0.5 <= region["confidence"] <= 1 for region in job["outputs"]["regions"])
    (shown,) = job["outputs"]["images"]
    assert (shown["name"], shown["width"], shown["height"]) == ("annotated.png", *page.size)
    assert "safety" not in job["outputs"]
    empty = finish(client, kind="ocr", image=png(RED_CIRCLE))
    assert (empty["outputs"]["text"], empty["outputs"]["regions"]) == ("", [])


def test_what_was_read_is_edited_before_it_is_translated_and_drawn(client):
    edits = [
        {"op": "replace", "find": "(red|blue) circle", "with": "green square", "regex": True},
        {"op": "replace", "find": "large", "with": "small"},
    ]
    job = finish(
        client,
        kind="reimagine",
        image=png(RED_CIRCLE),
        edit=edits,
        translate_to=["arb_Arab", "fra_Latn"],
        n=3,
        seed=1,
    )
    wanted = Scene("square", "green", "small", "white")
    outputs = job["outputs"]
    assert (outputs["caption"], outputs["prompt"]) == (caption(RED_CIRCLE), caption(wanted))
    assert outputs["translations"] == {
        language: caption(wanted, language) for language in ("arb_Arab", "fra_Latn")
    }
    drawn = judge.judge(Image.open(io.BytesIO(picture(client, job))).convert("RGB"))
    assert (drawn.colour, drawn.background) == ("green", "white")
    assert [verdict["name"] for verdict in outputs["safety"]] == [
        image["name"] for image in outputs["images"]
    ]
    assert not any(verdict["flagged"] for verdict in outputs["safety"])


def test_an_edit_that_leaves_nothing_fails_the_job_clearly(client):
    edit = [{"op": "replace", "find": ".*", "with": "", "regex": True}]
    with pytest.raises(JobFailed) as caught:
        finish(client, kind="reimagine", image=png(RED_CIRCLE), edit=edit)
    error = caught.value.job.error
    assert (error.code, error.step) == ("prompt_rejected", "translate")


def test_only_what_the_mask_shows_is_redrawn(client):
    mask = Image.new("L", (256, 256))
    mask.paste(255, (0, 0, 128, 256))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    job = finish(
        client,
        kind="blend",
        first=png(RED_CIRCLE),
        second=png(BLUE_SQUARE),
        mask=buffer.getvalue(),
        seed=3,
        steps=10,
    )
    after = np.asarray(Image.open(io.BytesIO(picture(client, job))).convert("RGB"), dtype=int)
    before = np.asarray(decode(png(BLUE_SQUARE), 10**6, (64, 64)), dtype=int)
    difference = abs(after - before).max(axis=2)
    assert difference[:, 33:].max() == 0
    assert difference[:, :31].max() > 20


def test_a_manifest_lies_beside_the_artifacts(client, stack):
    job = finish(client, kind="generate", prompt=caption(RED_CIRCLE))
    keys = stack.wait_for_object(f"jobs/{job['id']}/manifest.json")
    manifest = json.loads(keys)
    assert manifest["status"] == "succeeded"
    (artifact,) = (a for step in manifest["steps"] for a in step["output"]["artifacts"])
    assert artifact["sha256"] == job["outputs"]["images"][0]["sha256"]


def test_a_photograph_of_12_megapixels_goes_through_every_kind(client):
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    noise = rng.normal(0, 12, (3000, 4000, 1))
    scenery = np.asarray(coarse.resize((4000, 3000), Image.Resampling.BICUBIC), dtype=float)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.clip(scenery + noise, 0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=90, exif=exif
    )
    photo = buffer.getvalue()
    said = finish(client, kind="caption", image=photo)["outputs"]["caption"]
    assert said
    finish(client, kind="translate", text=said)
    finish(client, kind="blend", first=photo, second=photo, translate_to=["arb_Arab"])
    finish(client, kind="reimagine", image=photo)
    finish(client, kind="generate", prompt=said)
