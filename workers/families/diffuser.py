"""Diffuser: prompt, or prompt and picture, → picture, with any text-to-image pipeline.

sample  {"prompt": str, "negative_prompt": str | None, "seed": int, "image": RGB PIL.Image,
        "mask": PIL.Image, white where the picture is redrawn}
params  task ("text-to-image" | "image-to-image" | "inpainting"), width, height (pixels), steps,
        guidance, strength (0 to 1, with a picture), scheduler (a name of `shared.schedulers`),
        loras ([{"name": str, "scale": float}]), and whatever else the pipeline takes
result  {"image": RGB PIL.Image, "prompt": what was drawn}, and "unsafe": bool where the
        checkpoint has a safety checker

Width and height are floored to what the model's latents can be; the picture's size tells.
Inpainting keeps every pixel outside the mask.
"""

import gc
from typing import Any

import diffusers
import torch
import transformers
from PIL import Image

from workers import weights
from workers.diffusion.cascade import Cascade
from workers.diffusion.denoising import Watch
from workers.diffusion.pipelines import Pipelines
from workers.dtypes import dtype_of
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor


class Diffuser(Predictor):
    """Draws in fp32 on a CPU and fp16 on a GPU, unless the registry's `dtype` says otherwise."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._models: dict[str, Pipelines | Cascade] = {}
        diffusers.utils.logging.set_verbosity_error()
        transformers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()

    def load(self, checkpoint: Checkpoint) -> None:
        weights.check(checkpoint.path)
        kind = Cascade if checkpoint.parts else Pipelines
        self._models[checkpoint.model] = kind.load(
            checkpoint, self.device, dtype_of(checkpoint, self.device)
        )

    def unload(self, model: str) -> None:
        """Free a model's memory; later batches may not name it."""
        self._models.pop(model, None)
        gc.collect()  # a pipeline and its hooks refer to each other
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        model = self._models[batch.model]
        parts = model.split(batch)
        drawn: dict[int, Image.Image] = {}
        for number, (places, part) in enumerate(parts):
            pictures = model.draw(part, Watch(monitor, number, len(parts)))
            if pictures is None:
                return []
            drawn |= dict(zip(places, pictures, strict=True))
        pictures = [drawn[place] for place in range(len(batch.samples))]
        results: list[dict[str, Any]] = [
            {"image": picture, "prompt": sample["prompt"]}
            for picture, sample in zip(pictures, batch.samples, strict=True)
        ]
        for result, verdict in zip(results, model.unsafe(pictures) or (), strict=False):
            result["unsafe"] = verdict
        return results


PREDICTOR = Diffuser
