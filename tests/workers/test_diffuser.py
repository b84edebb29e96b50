"""The diffuser with two architectures, random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler
from PIL import Image
from safetensors.torch import load_file, save_file

from shared.errors import ModelNotAvailable, PredictionFailed
from tests import checkpoints
from tests.workers.families import Recorder, noise
from workers.diffusion.arguments import at_least_one_step
from workers.diffusion.inpainting import redrawn
from workers.families.diffuser import Diffuser
from workers.predictor import Batch, Checkpoint

MODELS = ["sd15", "sdxl"]
IMAGE = {"task": "image-to-image", "strength": 0.75}
MASK = Image.new("RGB", (32, 32))
MASK.paste((255, 255, 255), (8, 8, 24, 24))


@pytest.fixture(scope="module")
def diffuser(tmp_path_factory: pytest.TempPathFactory) -> Diffuser:
    folder = tmp_path_factory.mktemp("diffusers")
    diffuser = Diffuser("cpu")
    for model in MODELS:
        diffuser.load(Checkpoint(model, getattr(checkpoints, model)(folder / model), "r"))
    return diffuser


def sample(seed: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"picture {seed}", "negative_prompt": None, "seed": seed, **more}


def draw(
    diffuser: Diffuser, model: str, samples: list[dict[str, Any]], size: int = 3, **params: Any
) -> list[Image.Image]:
    params = {"steps": 3, "guidance": 5.0, "width": 32, "height": 32, **params}
    results = diffuser.predict(Batch(model, params, size, samples), Recorder())
    assert [result["prompt"] for result in results] == [each["prompt"] for each in samples]
    return [result["image"] for result in results]


def equal(left: list[Image.Image], right: list[Image.Image]) -> bool:
    return [each.tobytes() for each in left] == [each.tobytes() for each in right]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("params", [{}, IMAGE], ids=["text", "image"])
def test_a_picture_is_the_same_in_any_company(
    diffuser: Diffuser, model: str, params: dict[str, Any]
) -> None:
    samples = [sample(seed, image=noise(seed)) for seed in range(4)]
    alone = [draw(diffuser, model, [each], **params)[0] for each in samples]
    assert len({each.tobytes() for each in alone}) == 4
    assert equal(draw(diffuser, model, samples[:3], **params), alone[:3])
    assert equal(draw(diffuser, model, samples[:1:-1], **params), alone[:1:-1])
    assert equal(draw(diffuser, model, [samples[2]] * 2, **params), [alone[2]] * 2)


@pytest.mark.parametrize("model", MODELS)
def test_a_negative_prompt_concerns_its_own_sample(diffuser: Diffuser, model: str) -> None:
    plain, negative = sample(1), sample(1, negative_prompt="ugly")
    apart = draw(diffuser, model, [plain]) + draw(diffuser, model, [negative])
    assert not equal(apart[:1], apart[1:])
    assert equal(draw(diffuser, model, [plain, negative]), apart)
    assert equal(draw(diffuser, model, [negative, plain]), apart[::-1])


def test_prompt_seed_and_every_parameter_count(diffuser: Diffuser) -> None:
    pictures = {
        draw(diffuser, "sd15", [each], **params)[0].tobytes()
        for each, params in [
            (sample(1), {}),
            (sample(2), {}),
            ({**sample(1), "prompt": "something else"}, {}),
            (sample(1), {"steps": 4}),
            (sample(1), {"guidance": 1.0}),
            (sample(1, image=noise(1)), IMAGE),
            (sample(1, image=noise(1)), {**IMAGE, "strength": 0.4}),
            (sample(1, image=noise(2)), IMAGE),
        ]
    }
    assert len(pictures) == 8


@pytest.mark.parametrize("model", MODELS)
def test_sizes_are_floored_to_what_the_model_can(diffuser: Diffuser, model: str) -> None:
    (text,) = draw(diffuser, model, [sample(1)], width=37, height=51)
    assert text.size == (32, 48)
    (image,) = draw(diffuser, model, [sample(1, image=noise(1))], **IMAGE, width=37, height=51)
    assert image.size == (32, 48)
    assert image.mode == "RGB"


def test_the_models_own_size_is_the_default(diffuser: Diffuser) -> None:
    assert draw(diffuser, "sd15", [sample(1)], width=None, height=None)[0].size == (32, 32)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("steps", "strength"), [(1, 1.0), (1, 0.3), (2, 0.02), (3, 0.00001)])
def test_at_least_one_step_is_done(
    diffuser: Diffuser, model: str, steps: int, strength: float
) -> None:
    params = {"task": "image-to-image", "steps": steps, "strength": strength}
    recorder = Recorder()
    batch = Batch(model, {**params, "width": 16, "height": 16}, 1, [sample(1, image=noise(1))])
    assert diffuser.predict(batch, recorder)
    assert recorder.steps


def test_steps_are_never_rounded_to_none() -> None:
    for n in range(1, 2000):
        strength, steps = at_least_one_step(1 / n, 1, 999)
        assert int(steps * strength) >= 1
        assert steps <= 999
    assert at_least_one_step(0.75, 50, 999) == (0.75, 50)


def test_the_most_steps_that_a_request_may_ask_for(diffuser: Diffuser) -> None:
    recorder = Recorder(most=2)
    batch = Batch("sd15", {"steps": 1000, "width": 16, "height": 16}, 1, [sample(1)])
    assert diffuser.predict(batch, recorder) == []
    assert recorder.steps[0] == (1, 1000, "step 1 of 1000")  # 999, of which PNDM does one twice


def test_every_step_is_reported(diffuser: Diffuser) -> None:
    recorder = Recorder()
    batch = Batch("sdxl", {"steps": 4, "width": 32, "height": 32}, 1, [sample(1)])
    diffuser.predict(batch, recorder)
    assert recorder.steps == [(i, 4, f"step {i} of 4") for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("model", MODELS)
def test_a_cancel_stops_at_the_next_step(diffuser: Diffuser, model: str) -> None:
    samples = [sample(1, image=noise(1))]
    for params in ({}, IMAGE):
        recorder = Recorder(most=2)
        batch = Batch(model, {"steps": 12, "width": 32, "height": 32, **params}, 2, samples)
        assert diffuser.predict(batch, recorder) == []
        assert len(recorder.steps) == 2
    assert draw(diffuser, model, [sample(1)])  # and the next batch is not stopped


def test_a_batch_leaves_no_trace_in_the_next(diffuser: Diffuser) -> None:
    (before,) = draw(diffuser, "sd15", [sample(1)])
    draw(diffuser, "sd15", [sample(2, image=noise(1))], **IMAGE, steps=7)
    draw(diffuser, "sd15", [sample(5)], width=64, steps=2)
    assert equal(draw(diffuser, "sd15", [sample(1)]), [before])


def test_a_long_prompt_is_cut_by_the_library(diffuser: Diffuser) -> None:
    assert draw(diffuser, "sd15", [{**sample(1), "prompt": "word " * 500}])


def test_all_tasks_share_the_weights(diffuser: Diffuser) -> None:
    samples = [sample(1, image=noise(1), mask=MASK)]
    for task in ("image-to-image", "inpainting"):
        draw(diffuser, "sdxl", samples, task=task)
    pipes = diffuser._models["sdxl"]._pipes
    assert len(pipes) == 3
    assert len({id(pipe.unet) for pipe in pipes.values()}) == 1
    assert len({id(pipe.vae) for pipe in pipes.values()}) == 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_inpainting_keeps_what_the_mask_leaves_out(
    diffuser: Diffuser, model: str, strength: float
) -> None:
    picture = noise(1, 32, 32)
    samples = [sample(1, image=picture, mask=MASK)]
    (drawn,) = draw(diffuser, model, samples, task="inpainting", strength=strength)
    kept = np.asarray(MASK.convert("L")) == 0
    differs = (np.asarray(drawn) != np.asarray(picture)).any(axis=-1)
    assert not differs[kept].any()
    assert differs[~kept].mean() > 0.9


def test_a_mask_of_any_size_and_mode_lies_over_the_picture(diffuser: Diffuser) -> None:
    picture = noise(1, 60, 44)
    params = {"task": "inpainting", "width": 40, "height": 32}
    (drawn,) = draw(diffuser, "sd15", [sample(1, image=picture, mask=MASK)], **params)
    small = picture.resize((40, 32), Image.Resampling.LANCZOS)
    for box in ((0, 0, 40, 6), (0, 26, 40, 32), (0, 0, 8, 32), (32, 0, 40, 32)):
        assert drawn.crop(box) == small.crop(box)
    assert drawn.crop((12, 10, 28, 22)) != small.crop((12, 10, 28, 22))
    for mode in ("L", "1"):
        samples = [sample(1, image=picture, mask=MASK.convert(mode))]
        assert equal(draw(diffuser, "sd15", samples, **params), [drawn])


def test_a_mask_has_no_degrees() -> None:
    mask = Image.new("L", (2, 1))
    mask.putdata([127, 128])
    assert list(redrawn(mask, (2, 1)).tobytes()) == [0, 255]


def test_what_is_no_pipeline_is_named(diffuser: Diffuser, tmp_path: Path) -> None:
    with pytest.raises(ModelNotAvailable, match=r"no model_index\.json"):
        diffuser.load(Checkpoint("x", tmp_path, "r"))
    with pytest.raises(PredictionFailed, match="no such task: video"):
        draw(diffuser, "sd15", [sample(1)], task="video")


def test_pickled_weights_are_not_loaded(diffuser: Diffuser, tmp_path: Path) -> None:
    checkpoints.sd15(tmp_path)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelNotAvailable, match="pickled weights"):
        diffuser.load(Checkpoint("x", tmp_path, "r"))


def test_the_models_own_checker_judges_and_blacks_nothing_out(tmp_path: Path) -> None:
    checkpoints.with_safety_checker(checkpoints.sd15(tmp_path))
    file = tmp_path / "safety_checker" / "model.safetensors"
    weights = load_file(file)
    diffuser = Diffuser("cpu")
    pictures = []
    for threshold in (2.0, -2.0):  # of a cosine: nothing is over the one, all over the other
        weights["concept_embeds_weights"].fill_(threshold)
        save_file(weights, file, {"format": "pt"})
        diffuser.load(Checkpoint("x", tmp_path, "r"))
        for params in ({}, IMAGE, {"task": "inpainting"}):
            samples = [sample(1, image=noise(1), mask=MASK)]
            batch = Batch("x", {"steps": 3, "width": 32, "height": 32, **params}, 2, samples)
            (result,) = diffuser.predict(batch, Recorder())
            assert result["unsafe"] is (threshold < 0)
            assert len(result["image"].getcolors(1024)) > 1
            pictures.append(result["image"])
    assert equal(pictures[:3], pictures[3:])


def test_without_a_checker_nothing_is_said(diffuser: Diffuser) -> None:
    batch = Batch("sd15", {"steps": 1, "width": 32, "height": 32}, 1, [sample(1)])
    assert diffuser.predict(batch, Recorder())[0].keys() == {"image", "prompt"}


def test_another_scheduler_comes_with_the_checkpoint(tmp_path: Path) -> None:
    checkpoints.sd15(tmp_path)
    EulerDiscreteScheduler().save_pretrained(tmp_path / "scheduler")
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace("PNDMScheduler", "EulerDiscreteScheduler"))
    diffuser = Diffuser("cpu")
    diffuser.load(Checkpoint("x", tmp_path, "r"))
    recorder = Recorder()
    diffuser.predict(Batch("x", {"steps": 3, "width": 32, "height": 32}, 1, [sample(1)]), recorder)
    assert len(recorder.steps) == 3
