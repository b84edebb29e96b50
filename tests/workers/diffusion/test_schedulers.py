"""Schedulers by name."""

from pathlib import Path
from typing import Any

import pytest
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from shared.errors import PredictionFailed
from shared.schedulers import FLOW_SCHEDULERS, NOISE_SCHEDULERS, SCHEDULERS
from tests.checkpoints.diffusers import BUILDERS
from tests.workers.families import Recorder, noise
from workers.diffusion.schedulers import CLASSES, follows_flow, fresh, most_steps
from workers.families.diffuser import Diffuser
from workers.predictor import Batch, Checkpoint

IMAGE = {"task": "image-to-image", "strength": 0.5}


@pytest.fixture(scope="module")
def diffuser(tmp_path_factory: pytest.TempPathFactory) -> Diffuser:
    diffuser = Diffuser("cpu")
    for model in ("sd15", "sd21", "sd3"):
        folder = BUILDERS[model](tmp_path_factory.mktemp(model))
        diffuser.load(Checkpoint(model, folder, "r"))
    return diffuser


def draw(diffuser: Diffuser, model: str, recorder: Recorder | None = None, **params: Any) -> bytes:
    samples = [{"prompt": "picture", "seed": 1, "image": noise(1, 32, 32)}]
    params = {"steps": 4, "guidance": 5.0, "width": 32, "height": 32, **params}
    (result,) = diffuser.predict(Batch(model, params, 1, samples), recorder or Recorder())
    return result["image"].tobytes()


def test_every_name_has_a_class() -> None:
    assert set(CLASSES) == set(SCHEDULERS)
    assert {name for name, (kind, _) in CLASSES.items() if "Flow" in kind.__name__} == {
        *FLOW_SCHEDULERS
    }


@pytest.mark.parametrize("model", ["sd15", "sd21"])
def test_each_scheduler_draws_a_picture_of_its_own(diffuser: Diffuser, model: str) -> None:
    own = draw(diffuser, model)
    pictures = {name: draw(diffuser, model, scheduler=name) for name in NOISE_SCHEDULERS}
    assert len(set(pictures.values())) == len(NOISE_SCHEDULERS)
    assert pictures["pndm" if model == "sd15" else "ddim"] == own
    assert draw(diffuser, model) == own


@pytest.mark.parametrize("name", NOISE_SCHEDULERS)
def test_every_scheduler_redraws_in_the_fewest_and_the_most_steps(
    diffuser: Diffuser, name: str
) -> None:
    assert draw(diffuser, "sd15", scheduler=name, steps=1)
    assert draw(diffuser, "sd15", scheduler=name, steps=1, **IMAGE)
    recorder = Recorder(most=1)
    batch = Batch(
        "sd15", {"scheduler": name, "steps": 1000, "width": 16, "height": 16}, 1,
        [{"prompt": "picture", "seed": 1}],
    )  # fmt: skip
    assert diffuser.predict(batch, recorder) == []
    assert len(recorder.steps) == 1


def test_the_consistency_scheduler_takes_no_more_steps_than_it_was_distilled_for(
    diffuser: Diffuser,
) -> None:
    recorder = Recorder()
    draw(diffuser, "sd15", recorder, scheduler="lcm", steps=70)
    assert len(recorder.steps) == 50


def test_a_scheduler_of_the_other_kind_is_refused(diffuser: Diffuser) -> None:
    with pytest.raises(PredictionFailed, match="flow-euler does not fit; these do: ddim, dpm"):
        draw(diffuser, "sd15", scheduler="flow-euler")
    with pytest.raises(PredictionFailed, match=r"euler does not fit; these do: flow-euler$"):
        draw(diffuser, "sd3", scheduler="euler")
    with pytest.raises(PredictionFailed, match="scheduler turbo does not fit"):
        draw(diffuser, "sd15", scheduler="turbo")
    assert draw(diffuser, "sd3", scheduler="flow-euler") == draw(diffuser, "sd3")


def test_what_the_model_was_trained_with_is_kept(tmp_path: Path) -> None:
    own = DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type="v_prediction", steps_offset=1,
        timestep_spacing="trailing", num_train_timesteps=500,
    )  # fmt: skip
    for name in NOISE_SCHEDULERS:
        config = fresh(own, name).config
        assert config.beta_schedule == "scaled_linear"
        assert config.prediction_type == "v_prediction"
        assert config.timestep_spacing == "trailing"
        assert most_steps(fresh(own, name)) == (50 if name == "lcm" else 499)
    assert fresh(own, "dpm++-2m-karras").config.use_karras_sigmas
    assert not fresh(own, "ddim").config.clip_sample


def test_flow_is_told_by_class_or_setting() -> None:
    assert follows_flow(FlowMatchEulerDiscreteScheduler())
    flow = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    assert follows_flow(flow)
    assert fresh(flow, "flow-euler")
    assert not follows_flow(DPMSolverMultistepScheduler())
