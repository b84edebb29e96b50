"""Diffuser: prompt, or prompt and picture, → picture, with any text-to-image pipeline.

sample  {"prompt": str, "negative_prompt": str | None, "seed": int, "image": RGB PIL.Image}
params  task ("text-to-image" | "image-to-image"), width, height (pixels), steps, guidance,
        strength (0 to 1, image-to-image), and whatever else the pipeline takes
result  {"image": RGB PIL.Image, "prompt": what was drawn}

Width and height are floored to what the model's latents can be; the picture's size tells.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image
from PIL import Image

from shared.errors import ModelNotAvailable, PredictionFailed
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor

OWN = {"task", "width", "height", "steps", "guidance", "strength"}


class Diffuser(Predictor):
    """Draws in fp32 on a CPU and fp16 on a GPU."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._dtype = torch.float16 if device.startswith("cuda") else torch.float32
        self._pipelines: dict[tuple[str, str], Any] = {}
        diffusers.utils.logging.set_verbosity_error()
        transformers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()

    def load(self, checkpoint: Checkpoint) -> None:
        if not (checkpoint.path / "model_index.json").is_file():
            raise ModelNotAvailable(f"{checkpoint.path} holds no pipeline: no model_index.json")
        pipe = AutoPipelineForText2Image.from_pretrained(
            checkpoint.path, dtype=self._dtype, use_safetensors=True, local_files_only=True
        ).to(self.device)
        pipe.set_progress_bar_config(disable=True)
        self._pipelines[checkpoint.model, "text-to-image"] = pipe

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        # Without any negative prompt a pipeline may put zeros where "" would be encoded.
        parts = batch.split(lambda sample: sample.get("negative_prompt") is None)
        pictures: dict[int, Image.Image] = {}
        for number, (places, part) in enumerate(parts):
            drawn = self._draw(part, Watch(monitor, number, len(parts)))
            if drawn is None:
                return []
            pictures |= dict(zip(places, drawn, strict=True))
        return [
            {"image": pictures[place], "prompt": sample["prompt"]}
            for place, sample in enumerate(batch.samples)
        ]

    @torch.inference_mode()
    def _draw(self, batch: Batch, watch: "Watch") -> list[Image.Image] | None:
        """The pictures of one call; None when canceled."""
        pipe = self._pipeline(batch.model, batch.params.get("task", "text-to-image"))
        # A scheduler keeps the state of its last run.
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        pictures = pipe(**arguments(pipe, batch), callback_on_step_end=watch).images
        return None if watch.canceled else pictures[: len(batch.samples)]

    def _pipeline(self, model: str, task: str) -> Any:
        """The pipeline for a task; all share the components that `load` brought in."""
        if (model, task) not in self._pipelines:
            if task != "image-to-image":
                raise PredictionFailed(f"no such task: {task}")
            try:
                pipe = AutoPipelineForImage2Image.from_pipe(self._pipelines[model, "text-to-image"])
            except ValueError as error:
                raise PredictionFailed(f"{model} cannot do {task}: {error}") from error
            pipe.set_progress_bar_config(disable=True)
            self._pipelines[model, task] = pipe
        return self._pipelines[model, task]


class Watch:
    """The pipeline's callback after every denoising step: reports it, stops when canceled."""

    def __init__(self, monitor: StepMonitor, number: int, parts: int) -> None:
        self._monitor = monitor
        self._number = number
        self._parts = parts
        self._done = 0
        self.canceled = False

    def __call__(
        self, pipe: Any, step: int, timestep: Any, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        self._done += 1
        total = max(self._done, getattr(pipe, "num_timesteps", 0))
        message = f"step {self._done} of {total}"
        done = self._number * total + self._done
        if not self._monitor.step(done, self._parts * total, message):
            self.canceled = pipe._interrupt = True
        return arguments


def arguments(pipe: Any, batch: Batch) -> dict[str, Any]:
    """What the pipeline is called with.

    The names below are left out where a pipeline does not take them; any other that it does not
    know raises.
    """
    params, samples = batch.params, batch.padded
    width, height = size(pipe, params)
    accepted = inspect.signature(pipe.__call__).parameters
    steps = params.get("steps") or accepted["num_inference_steps"].default
    optional = {
        "width": width,
        "height": height,
        "guidance_scale": params.get("guidance"),
        "negative_prompt": [each.get("negative_prompt") for each in samples],
    }
    if samples[0].get("negative_prompt") is None:
        del optional["negative_prompt"]
    given = {name: value for name, value in params.items() if name not in OWN}
    if params.get("task") == "image-to-image":
        given["image"] = [
            each["image"].resize((width, height), Image.Resampling.LANCZOS) for each in samples
        ]
        strength = params.get("strength") or accepted["strength"].default
        given["strength"], steps = at_least_one_step(strength, steps, most_steps(pipe))
    return {
        **{
            name: value
            for name, value in optional.items()
            if name in accepted and value is not None
        },
        **given,
        "prompt": [each["prompt"] for each in samples],
        "generator": [torch.Generator("cpu").manual_seed(each["seed"]) for each in samples],
        "num_inference_steps": min(steps, most_steps(pipe)),
        "output_type": "pil",
    }


def size(pipe: Any, params: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in pixels: as asked for, else the model's own; floored to its latents."""
    denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    config = denoiser.config if denoiser is not None else {}
    factor = getattr(pipe, "vae_scale_factor", 8)
    patch = config.get("patch_size") or 1
    # Many pipelines ask for a multiple of 8 whatever their autoencoder's factor is.
    multiple = math.lcm(8, factor * patch if isinstance(patch, int) else factor)
    own = getattr(pipe, "default_sample_size", None) or config.get("sample_size") or 64
    rows, columns = own if isinstance(own, list | tuple) else (own, own)
    asked = params.get("width") or columns * factor, params.get("height") or rows * factor
    width, height = (max(multiple, side // multiple * multiple) for side in asked)
    return width, height


def at_least_one_step(strength: float, steps: int, most: int) -> tuple[float, int]:
    """Strength and steps of which `int(steps * strength)` is not 0, as pipelines need."""
    strength = max(strength, 2 / most)
    if int(steps * strength) < 1:
        steps = math.ceil(1 / strength)
        steps += int(steps * strength) < 1  # 49 * (1 / 49) is less than 1
    return strength, steps


def most_steps(pipe: Any) -> int:
    """What the scheduler can do; with an offset it would step over its last one."""
    config = pipe.scheduler.config
    return int(config.get("num_train_timesteps", 1000)) - int(config.get("steps_offset", 0))


PREDICTOR = Diffuser
