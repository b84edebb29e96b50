"""The diffuser with every architecture that the registry may name, random weights."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.errors import ModelNotAvailable, PredictionFailed
from tests.checkpoints.diffusers import BUILDERS, EXTRA, INPAINT, LACKING, REDRAW, TEXT
from tests.workers.families import Recorder, noise
from workers.families.diffuser import Diffuser
from workers.predictor import Batch, Checkpoint

# sd15 and sdxl draw and redraw in `test_diffuser.py`.
TASKS = [
    (model, task)
    for model in BUILDERS
    for task in ((INPAINT,) if model in ("sd15", "sdxl") else (TEXT, REDRAW, INPAINT))
    if task not in LACKING.get(model, ())
]
NO_NEGATIVE = ["flux", "flux2-klein", "lcm"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Diffuser]:
    diffuser = Diffuser("cpu")
    models: set[str] = set()

    def load(model: str) -> Diffuser:
        if model not in models:
            folder = BUILDERS[model](tmp_path_factory.mktemp(model))
            diffuser.load(Checkpoint(model, folder, "r"))
            models.add(model)
        return diffuser

    return load


def sample(seed: int, **more: Any) -> dict[str, Any]:
    # Of different lengths: some text encoders pad to the longest prompt of a batch.
    prompt = "word " * (3 * seed + 1)
    mask = Image.new("RGB", (64, 64))
    mask.paste((255, 255, 255), (16, 16, 48, 48))
    return {"prompt": prompt, "seed": seed, "image": noise(seed, 64, 64), "mask": mask, **more}


def draw(
    diffuser: Diffuser, model: str, samples: list[dict[str, Any]], **params: Any
) -> list[Image.Image]:
    params = {
        "steps": 3,
        "guidance": 4.0,
        "width": 32,
        "height": 32,
        **EXTRA.get(model, {}),
    } | params
    results = diffuser.predict(Batch(model, params, 2, samples), Recorder())
    assert all(result["image"].mode == "RGB" for result in results)
    return [result["image"] for result in results]


@pytest.mark.parametrize(("model", "task"), TASKS)
def test_it_draws_the_same_in_any_company(
    loaded: Callable[[str], Diffuser], model: str, task: str
) -> None:
    diffuser, samples = loaded(model), [sample(1), sample(2)]
    pictures = draw(diffuser, model, samples, task=task)
    assert [each.size for each in pictures] == [(32, 32)] * 2
    assert pictures[0] != pictures[1]
    alone = [draw(diffuser, model, [each], task=task)[0] for each in samples]
    assert alone == pictures


@pytest.mark.parametrize("model", BUILDERS)
def test_guidance_and_negative_prompt_have_an_effect_or_are_refused(
    loaded: Callable[[str], Diffuser], model: str
) -> None:
    if model == "sdxl-turbo":
        pytest.skip("is never guided")
    diffuser = loaded(model)
    task = INPAINT if model == "sd15-inpainting" else TEXT
    negative = [sample(1, negative_prompt="ugly")]
    (plain,) = draw(diffuser, model, [sample(1)], task=task)
    assert draw(diffuser, model, [sample(1)], task=task, guidance=9.0) != [plain]
    if model in NO_NEGATIVE:
        with pytest.raises(PredictionFailed, match=f"model {model} takes no negative prompt"):
            draw(diffuser, model, negative, task=task)
    else:
        assert draw(diffuser, model, negative, task=task) != [plain]


def test_flux_takes_a_negative_prompt_with_true_guidance(
    loaded: Callable[[str], Diffuser],
) -> None:
    diffuser = loaded("flux")
    ugly, dull = (sample(1, negative_prompt=text) for text in ("ugly", "dull"))
    pictures = [draw(diffuser, "flux", [each], true_cfg_scale=3.0) for each in (ugly, dull)]
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("model", "task"), [(model, task) for model, tasks in LACKING.items() for task in tasks]
)
def test_a_task_that_a_model_cannot_do_is_refused(
    loaded: Callable[[str], Diffuser], model: str, task: str
) -> None:
    with pytest.raises(PredictionFailed, match=f"model {model} cannot do {task}"):
        draw(loaded(model), model, [sample(1)], task=task)


@pytest.mark.parametrize("model", ["flux", "qwen-image", "z-image"])
def test_sizes_are_floored_to_what_packed_latents_can(
    loaded: Callable[[str], Diffuser], model: str
) -> None:
    for task in (TEXT, REDRAW):
        (picture,) = draw(loaded(model), model, [sample(1)], task=task, width=37, height=51)
        assert picture.size == (32, 48)


@pytest.mark.parametrize("model", ["flux2-klein", "qwen-image", "z-image"])
def test_prompts_of_any_length_are_drawn_one_by_one_and_every_step_reported(
    loaded: Callable[[str], Diffuser], model: str
) -> None:
    params = {"steps": 3, "width": 32, "height": 32, **EXTRA.get(model, {})}
    recorder = Recorder()
    loaded(model).predict(Batch(model, params, 4, [sample(1), sample(2)]), recorder)
    assert recorder.steps == [(i, 6, f"step {(i - 1) % 3 + 1} of 3") for i in range(1, 7)]


@pytest.mark.parametrize("model", ["pixart", "sd3", "z-image"])
def test_a_cancel_stops_at_the_next_step(loaded: Callable[[str], Diffuser], model: str) -> None:
    params = {"steps": 9, "width": 32, "height": 32, **EXTRA.get(model, {})}
    recorder = Recorder(most=2)
    assert loaded(model).predict(Batch(model, params, 2, [sample(1)]), recorder) == []
    assert recorder.steps == [(i, 9, f"step {i} of 9") for i in (1, 2)]
    assert draw(loaded(model), model, [sample(1)])


def test_the_registry_may_name_the_guidance(
    loaded: Callable[[str], Diffuser], tmp_path: Path
) -> None:
    diffuser = Diffuser("cpu")
    settings = {"guidance": "true_cfg_scale"}
    diffuser.load(Checkpoint("flux", BUILDERS["flux"](tmp_path), "r", settings=settings))
    plain, guided = (draw(diffuser, "flux", [sample(1)], guidance=scale) for scale in (1.0, 5.0))
    assert plain != guided
    ugly = [sample(1, negative_prompt="ugly")]
    assert draw(diffuser, "flux", ugly, guidance=5.0) != guided


def test_the_registry_may_name_the_dtype(tmp_path: Path) -> None:
    BUILDERS["flux"](tmp_path)
    diffuser = Diffuser("cpu")
    diffuser.load(Checkpoint("a", tmp_path, "r", settings={"dtype": "bfloat16"}))
    diffuser.load(Checkpoint("b", tmp_path, "r"))
    pictures = [draw(diffuser, model, [sample(1)]) for model in "ab"]
    assert pictures[0] != pictures[1]
    with pytest.raises(ModelNotAvailable, match="dtype int8 is none of"):
        diffuser.load(Checkpoint("c", tmp_path, "r", settings={"dtype": "int8"}))


def test_an_unloaded_model_is_gone(tmp_path: Path) -> None:
    diffuser = Diffuser("cpu")
    diffuser.load(Checkpoint("lcm", BUILDERS["lcm"](tmp_path), "r"))
    assert draw(diffuser, "lcm", [sample(1)])
    weights = weakref.ref(diffuser._models["lcm"]._pipes[TEXT].unet)
    diffuser.unload("lcm")
    assert weights() is None
    diffuser.unload("lcm")
    with pytest.raises(KeyError):
        draw(diffuser, "lcm", [sample(1)])
