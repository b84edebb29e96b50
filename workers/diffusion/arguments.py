"""What a pipeline is called with: a step's parameters and samples under the pipeline's own names.

Pipelines differ in what they take and in how they call it, so that everything is read off the
signature of `__call__`, and the registry need not say it.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from shared.errors import PredictionFailed
from workers.diffusion.inpainting import redrawn
from workers.diffusion.schedulers import most_steps
from workers.predictor import Batch

# Parameters of a step that are translated here or used elsewhere; all others are the pipeline's.
OWN = {"task", "width", "height", "steps", "guidance", "strength", "scheduler", "loras"}
TEXT, REDRAW, INPAINT = "text-to-image", "image-to-image", "inpainting"  # the tasks
USUAL_PIXELS = 1024  # where neither the step nor the model says a size

# Text encoders that pad every prompt to one length. Of others the batch decides the length, and
# with it, in the last bits, the picture.
PADDED_ENCODERS = {"CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"}


def arguments(pipe: Any, batch: Batch, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of one call.

    `settings["guidance"]` names the argument that the step's guidance goes to, where it is not
    found by itself. Size, guidance and strength are left out where a pipeline does not take them;
    any other parameter that it does not know raises.
    """
    params, samples = batch.params, batch.padded
    accepted = inspect.signature(pipe.__call__).parameters
    width, height = size(pipe, params)
    guidance = settings.get("guidance") or guidance_name(accepted)
    optional = {"width": width, "height": height, guidance: params.get("guidance")}
    steps = params.get("steps") or accepted["num_inference_steps"].default
    most = most_steps(pipe.scheduler)
    given = {name: value for name, value in params.items() if name not in OWN}
    if params.get("task", TEXT) != TEXT:
        if "strength" in accepted:
            given["image"] = [fitted(each["image"], (width, height)) for each in samples]
            strength = params.get("strength") or accepted["strength"].default
            given["strength"], steps = at_least_one_step(strength, steps, most)
        else:  # a pipeline that draws anew, with one picture, or a list of them, to look at
            given["image"] = samples[0]["image"]
    if params.get("task") == INPAINT:
        given["mask_image"] = [redrawn(each["mask"], (width, height)) for each in samples]
    negative = [each.get("negative_prompt") for each in samples]
    if negative[0] is not None:
        if not takes_negative(accepted, guidance, params):
            raise PredictionFailed(f"model {batch.model} takes no negative prompt")
        given["negative_prompt"] = negative
    elif guidance == "true_cfg_scale":
        # Without one it would not be guided; a space is what the model card of Qwen-Image says.
        given["negative_prompt"] = [" "] * len(samples)
    known = {
        name: value for name, value in optional.items() if name in accepted and value is not None
    }
    return {
        **known,
        **given,
        "prompt": [each["prompt"] for each in samples],
        "generator": [torch.Generator("cpu").manual_seed(each["seed"]) for each in samples],
        "num_inference_steps": min(steps, most),
        "output_type": "pil",
    }


def guidance_name(accepted: Mapping[str, inspect.Parameter]) -> str:
    """The argument for classifier-free guidance.

    Qwen-Image has it as `true_cfg_scale`, and `guidance_scale` is None unless it was distilled;
    FLUX.1 has both, and is distilled.
    """
    distilled = "guidance_scale" in accepted and accepted["guidance_scale"].default is not None
    return "true_cfg_scale" if "true_cfg_scale" in accepted and not distilled else "guidance_scale"


def takes_negative(
    accepted: Mapping[str, inspect.Parameter], guidance: str, params: Mapping[str, Any]
) -> bool:
    """Whether a negative prompt would have any effect: with FLUX.1 it needs `true_cfg_scale`."""
    if "true_cfg_scale" in accepted and guidance != "true_cfg_scale":
        scale: float = params.get("true_cfg_scale", accepted["true_cfg_scale"].default)
        return scale > 1
    return "negative_prompt" in accepted


def together(pipe: Any, task: str) -> bool:
    """Whether samples may share a call without a trace of each other in their pictures."""
    encoders = (part for name, part in pipe.components.items() if name.startswith("text_encoder"))
    padded = all(type(each).__name__ in PADDED_ENCODERS for each in encoders if each is not None)
    takes_one_picture = "strength" not in inspect.signature(pipe.__call__).parameters
    return padded and (task == TEXT or not takes_one_picture)


def size(pipe: Any, params: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in pixels: as asked for, else the model's own; floored to its latents."""
    denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    config = denoiser.config if denoiser is not None else {}
    factor = getattr(pipe, "vae_scale_factor", 8)
    patch = config.get("patch_size")
    processor = getattr(pipe, "image_processor", None)
    packed = processor.config.get("vae_scale_factor", factor) if processor else factor
    # Many pipelines ask for a multiple of 8 whatever their autoencoder's factor is.
    multiple = math.lcm(8, factor * (patch if isinstance(patch, int) else 1), packed)
    own = getattr(pipe, "default_sample_size", None) or config.get("sample_size")
    own = own or USUAL_PIXELS // factor
    rows, columns = own if isinstance(own, list | tuple) else (own, own)
    asked = params.get("width") or columns * factor, params.get("height") or rows * factor
    width, height = (max(multiple, side // multiple * multiple) for side in asked)
    return width, height


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at exactly this size; untouched where it has it."""
    return picture.resize(size, Image.Resampling.LANCZOS)


def at_least_one_step(strength: float, steps: int, most: int) -> tuple[float, int]:
    """Strength and steps of which `int(steps * strength)` is not 0, as pipelines need."""
    strength = max(strength, 2 / most)
    if int(steps * strength) < 1:
        steps = math.ceil(1 / strength)
        steps += int(steps * strength) < 1  # 49 * (1 / 49) is less than 1
    return strength, steps
