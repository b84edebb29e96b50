"""Schedulers by name, set up from what a model's own scheduler says of its training."""

from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from shared.errors import PredictionFailed
from shared.schedulers import FLOW_SCHEDULERS, NOISE_SCHEDULERS

# The class of each name, and what a model's own settings must not decide.
CLASSES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False}),  # latents are not bounded by 1
    "dpm++-2m": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": False},
    ),
    "dpm++-2m-karras": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "euler": (EulerDiscreteScheduler, {}),
    "euler-a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "lcm": (LCMScheduler, {"clip_sample": False}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),  # as in Stable Diffusion
    "unipc": (UniPCMultistepScheduler, {}),
    "flow-euler": (FlowMatchEulerDiscreteScheduler, {}),
}


def fresh(own: Any, name: str | None = None) -> Any:
    """A scheduler without the state of an earlier run: the one of this name, else the model's own.

    Raises PredictionFailed where there is none of this name, or where it does not fit the model.
    """
    if name is None:
        return type(own).from_config(own.config)
    fitting = FLOW_SCHEDULERS if follows_flow(own) else NOISE_SCHEDULERS
    if name not in fitting:
        raise PredictionFailed(f"scheduler {name} does not fit; these do: {', '.join(fitting)}")
    kind, options = CLASSES[name]
    return kind.from_config(own.config, **options)


def follows_flow(scheduler: Any) -> bool:
    """Whether the model behind a scheduler was trained by flow matching."""
    return "FlowMatch" in type(scheduler).__name__ or bool(scheduler.config.get("use_flow_sigmas"))


def most_steps(scheduler: Any) -> int:
    """The steps that a scheduler can do; with an offset it would step over its last one.

    LCM picks its steps among those of its distillation.
    """
    config = scheduler.config
    trained = int(config.get("num_train_timesteps", 1000)) - int(config.get("steps_offset", 0))
    return min(trained, int(config.get("original_inference_steps", trained)))
