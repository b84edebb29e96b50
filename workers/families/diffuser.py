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

NAMES = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
OWN = {"task", "width", "height", "strength"}


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
        task = batch.params.get("task", "text-to-image")
        pipe = self._pipeline(batch.model, task)
        # A scheduler keeps the state of its last run.
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        samples = batch.padded
        width, height = size(pipe, batch.params)
        accepted = inspect.signature(pipe.__call__).parameters
        arguments: dict[str, Any] = {
            NAMES.get(name, name): value for name, value in batch.params.items() if name not in OWN
        }
        arguments |= {
            "prompt": [each["prompt"] for each in samples],
            "generator": [torch.Generator("cpu").manual_seed(each["seed"]) for each in samples],
            "output_type": "pil",
            "width": width,
            "height": height,
            "callback_on_step_end": watch,
        }
        if samples[0].get("negative_prompt") is not None:
            arguments["negative_prompt"] = [each["negative_prompt"] for each in samples]
        if task == "image-to-image":
            arguments["image"] = [
                each["image"].resize((width, height), Image.Resampling.LANCZOS) for each in samples
            ]
            steps = arguments.get("num_inference_steps") or accepted["num_inference_steps"].default
            arguments["strength"], arguments["num_inference_steps"] = at_least_one_step(
                pipe, batch.params.get("strength", accepted["strength"].default), steps
            )
        optional = {"negative_prompt", "guidance_scale", "width", "height", "callback_on_step_end"}
        pictures = pipe(
            **{
                name: value
                for name, value in arguments.items()
                if name in accepted or name not in optional
            }
        ).images
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


def at_least_one_step(pipe: Any, strength: float, steps: int) -> tuple[float, int]:
    """Strength and steps of which `int(steps * strength)` is not 0, as pipelines need."""
    most = pipe.scheduler.config.get("num_train_timesteps", 1000)
    strength = max(strength, 1 / most)
    if int(steps * strength) < 1:
        steps = math.ceil(1 / strength)
        steps += int(steps * strength) < 1  # 49 * (1 / 49) is less than 1
    return strength, min(steps, most)


PREDICTOR = Diffuser
