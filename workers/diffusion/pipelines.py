"""One checkpoint of a text-to-image pipeline, ready to draw whatever its architecture can."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
)
from PIL import Image

from shared.errors import PredictionFailed
from workers.diffusion.adapters import Adapters
from workers.diffusion.arguments import INPAINT, REDRAW, TEXT, arguments, together
from workers.diffusion.denoising import Canceled, Watch, callback
from workers.diffusion.inpainting import paste
from workers.diffusion.safety_checker import PipelineChecker
from workers.diffusion.schedulers import fresh
from workers.predictor import Batch, Checkpoint

MADE_FROM_TEXT = {REDRAW: AutoPipelineForImage2Image, INPAINT: AutoPipelineForInpainting}
INPAINTING_CHANNELS = 9  # of a UNet trained to inpaint: latents, mask, latents of what is kept


class Pipelines:
    """The pipelines of a checkpoint, one per task; all share the components that were loaded."""

    def __init__(self, checkpoint: Checkpoint, pipe: Any) -> None:
        self._model = checkpoint.model
        self._settings = checkpoint.settings
        self._scheduler = pipe.scheduler
        self._checker = PipelineChecker.take_from(pipe)
        self._adapters = Adapters(checkpoint.model, pipe, checkpoint.adapters)
        self._pipes = {TEXT: pipe}

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> "Pipelines":
        """Any pipeline that diffusers' AutoPipelineForText2Image knows."""
        pipe = AutoPipelineForText2Image.from_pretrained(
            checkpoint.path,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        ).to(device)
        pipe.set_progress_bar_config(disable=True)
        return cls(checkpoint, pipe)

    def split(self, batch: Batch) -> list[tuple[list[int], Batch]]:
        """The calls that a batch takes, each with its samples' places in the batch."""
        task = batch.params.get("task", TEXT)
        if together(self._pipe(task), task):
            # Without any negative prompt a pipeline may put zeros where "" would be encoded.
            return batch.split(lambda sample: sample.get("negative_prompt") is None)
        return batch.singly()

    @torch.inference_mode()
    def draw(self, batch: Batch, watch: Watch) -> list[Image.Image] | None:
        """The pictures of one call, one per sample; None when canceled."""
        task = batch.params.get("task", TEXT)
        pipe = self._pipe(task)
        pipe.scheduler = fresh(self._scheduler, batch.params.get("scheduler"))
        given = arguments(pipe, batch, self._settings)
        try:
            with self._adapters.active(batch.params.get("loras") or ()):
                drawn = pipe(**given, **callback(pipe, watch)).images
        except Canceled:
            return None
        if watch.canceled:
            return None
        if task == INPAINT:
            drawn = list(map(paste, drawn, given["image"], given["mask_image"]))
        return drawn[: len(batch.samples)]

    def unsafe(self, pictures: Sequence[Image.Image]) -> list[bool] | None:
        """What the checkpoint's own safety checker says of each picture; None: it has none."""
        return None if self._checker is None else [self._checker(each) for each in pictures]

    def _pipe(self, task: str) -> Any:
        """The pipeline for a task. Raises PredictionFailed where this model has none."""
        unet = getattr(self._pipes[TEXT], "unet", None)
        if task in (TEXT, REDRAW) and unet and unet.config.in_channels == INPAINTING_CHANNELS:
            raise PredictionFailed(f"model {self._model} cannot do {task}, only inpainting")
        if task not in self._pipes:
            if task not in MADE_FROM_TEXT:
                raise PredictionFailed(f"no such task: {task}")
            try:
                pipe = MADE_FROM_TEXT[task].from_pipe(self._pipes[TEXT])
            except ValueError as error:
                raise PredictionFailed(f"model {self._model} cannot do {task}") from error
            pipe.set_progress_bar_config(disable=True)
            self._pipes[task] = pipe
        return self._pipes[task]
