"""DeepFloyd IF: a cascade of diffusion models that draws small and enlarges, all by the prompt.

Stage I draws 64 pixels a side from T5's reading of the prompt, stage II makes 256 of them, and
the x4 upscaler of Stable Diffusion, where there is a third stage, 1024. The stages and their
published settings: https://github.com/deep-floyd/IF and the model card of IF-I-XL-v1.0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import IFPipeline, IFSuperResolutionPipeline, StableDiffusionUpscalePipeline
from diffusers.pipelines.deepfloyd_if import IFSafetyChecker
from PIL import Image
from pydantic import Field, ValidationError
from transformers import CLIPConfig, CLIPImageProcessorPil

from shared.contracts import Frozen
from shared.errors import ModelNotAvailable, PredictionFailed
from workers.diffusion.denoising import Watch
from workers.diffusion.schedulers import fresh, most_steps
from workers.predictor import Batch, Checkpoint
from workers.weights import INDEX, check, read_json

# The stages fix width and height; a request may name them all the same.
TAKEN = {"task", "steps", "guidance", "width", "height"}


class Run(Frozen):
    """How a stage denoises; `noise_level` is the timestep of the noise laid over its input."""

    steps: int = Field(ge=1)
    guidance: float = Field(ge=0)
    noise_level: int = Field(default=0, ge=0)


FIRST = Run(steps=100, guidance=7.0)
# The later stages in their order, by what the settings call them.
LATER: Mapping[str, tuple[type[Any], Run]] = {
    "super_resolution": (IFSuperResolutionPipeline, Run(steps=50, guidance=4.0, noise_level=250)),
    "upscale": (StableDiffusionUpscalePipeline, Run(steps=75, guidance=9.0, noise_level=100)),
}

# A pipeline's own checker would black pictures out, and its watermarker write into them.
UNCHECKED: Mapping[str, None] = dict.fromkeys(
    ("safety_checker", "feature_extractor", "watermarker")
)
OF_IF: Mapping[str, Any] = {**UNCHECKED, "requires_safety_checker": False}
# One text encoder serves stages I and II, and leaves the device before they run.
ENCODER: Mapping[str, Any] = {**OF_IF, "unet": None}
DENOISER: Mapping[str, Any] = {**OF_IF, "text_encoder": None, "tokenizer": None}


@dataclass(frozen=True)
class Cascade:
    """A loaded cascade; `home` is where a stage that does not run has its weights."""

    model: str
    device: str
    home: str
    encoder: Any  # IFPipeline
    first: Any  # IFPipeline
    later: Sequence[tuple[Any, Run]]  # stage II, or stages II and III
    checker: Callable[[Image.Image], bool] | None

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> "Cascade":
        """`checkpoint.path` is stage I, `checkpoint.parts` the folders of stage II, or II and III.

        Settings: `offload` (true: only the stage that runs is on the device), and
        `super_resolution` and `upscale`, tables of {steps, guidance, noise_level} for a later
        stage. Raises ModelNotAvailable.
        """
        path, parts, settings = checkpoint.path, checkpoint.parts, checkpoint.settings
        if not 1 <= len(parts) <= len(LATER):
            raise ModelNotAvailable(
                f"{checkpoint.model}: a cascade has 1 or 2 later stages, not {len(parts)}"
            )
        for folder in (path, *parts):
            check(folder)
        home = "cpu" if settings.get("offload") else device

        def load(kind: type[Any], folder: Path, components: Mapping[str, Any]) -> Any:
            if (found := read_json(folder / INDEX).get("_class_name")) != kind.__name__:
                raise ModelNotAvailable(f"{folder} holds no {kind.__name__}, but {found}")
            pipe = kind.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, local_files_only=True, **components
            ).to(home)
            pipe.set_progress_bar_config(disable=True)
            return pipe

        later = []
        for (name, (kind, usual)), folder in zip(LATER.items(), parts, strict=False):
            components = UNCHECKED if kind is StableDiffusionUpscalePipeline else DENOISER
            later.append((load(kind, folder, components), configured(usual, name, settings)))
        return cls(
            model=checkpoint.model,
            device=device,
            home=home,
            encoder=load(IFPipeline, path, ENCODER),
            first=load(IFPipeline, path, DENOISER),
            later=later,
            checker=safety_checker(path, device, dtype),
        )

    def split(self, batch: Batch) -> list[tuple[list[int], Batch]]:
        """The calls that a batch takes, each with its sample's place in the batch: one a sample,
        since with several threads a picture depends on its place."""
        return batch.singly()

    @torch.inference_mode()
    def draw(self, batch: Batch, watch: Watch) -> list[Image.Image] | None:
        """A picture for each sample, RGB, of the last stage's size; None when canceled.

        Params: steps (100) and guidance (7.0), of stage I. Raises PredictionFailed where the
        batch asks for what a cascade cannot do.
        """
        self._refuse(batch.params)
        samples = batch.padded
        stages = [
            (pipe, run.model_copy(update={"steps": min(run.steps, most_steps(pipe.scheduler))}))
            for pipe, run in ((self.first, asked(batch.params)), *self.later)
        ]
        report = Report(watch, sum(run.steps for _, run in stages))
        # A sample's generator goes on from stage to stage, as in the published example.
        generators = [torch.Generator("cpu").manual_seed(each["seed"]) for each in samples]
        prompts = [each["prompt"] for each in samples]
        negative = [each.get("negative_prompt") or "" for each in samples]
        with self._running(self.encoder):
            read, read_negative = self.encoder.encode_prompt(
                prompts, negative_prompt=negative, device=self.device
            )
        pixels: Any = None  # (size, 3, side, side), -1 to 1; pictures in the end
        try:
            for pipe, run in stages:
                arguments = {"prompt_embeds": read, "negative_prompt_embeds": read_negative}
                if isinstance(pipe, StableDiffusionUpscalePipeline):
                    arguments = {"prompt": prompts, "negative_prompt": negative}
                    # It would judge the scale of the values by the least one of the batch.
                    pixels = (pixels / 2 + 0.5).clamp(0, 1)
                if pixels is not None:
                    arguments |= {"image": pixels, "noise_level": run.noise_level}
                pipe.scheduler = fresh(pipe.scheduler)
                with self._running(pipe):
                    pixels = pipe(
                        **arguments,
                        num_inference_steps=run.steps,
                        guidance_scale=run.guidance,
                        generator=generators,
                        callback=report,
                        output_type="pil" if pipe is stages[-1][0] else "pt",
                    ).images
        except Canceled:
            return None
        return list(pixels[: len(batch.samples)])

    def unsafe(self, pictures: Sequence[Image.Image]) -> list[bool] | None:
        """What the checkpoint's own safety checker says of each picture; None: it has none."""
        return None if self.checker is None else [self.checker(each) for each in pictures]

    def _refuse(self, params: Mapping[str, Any]) -> None:
        if (task := params.get("task", "text-to-image")) != "text-to-image":
            raise PredictionFailed(f"{self.model} cannot do {task}: it draws from a prompt alone")
        if unknown := sorted(name for name in params if name not in TAKEN):
            raise PredictionFailed(f"{self.model} takes no {', '.join(unknown)}")

    @contextmanager
    def _running(self, pipe: Any) -> Iterator[None]:
        """Have the pipeline on the device for as long as it runs."""
        if self.home == self.device:
            yield
            return
        pipe.to(self.device)
        try:
            yield
        finally:
            pipe.to(self.home)


def asked(params: Mapping[str, Any]) -> Run:
    """How stage I is to run."""
    named = {name: params[name] for name in ("steps", "guidance") if params.get(name) is not None}
    return FIRST.model_copy(update=named)


def configured(usual: Run, name: str, settings: Mapping[str, Any]) -> Run:
    """How a later stage is to run. Raises ModelNotAvailable where its settings are wrong."""
    try:
        return Run.model_validate({**usual.model_dump(), **settings.get(name, {})})
    except (TypeError, ValidationError) as error:
        raise ModelNotAvailable(f"settings.{name} of a cascade: {error}") from None


class Canceled(Exception):
    """Ends a pipeline in the middle: those of a cascade know no other way."""


class Report:
    """The callback of every stage's pipeline, for one watch over `total` steps."""

    def __init__(self, watch: Watch, total: int) -> None:
        self._watch = watch
        self._cascade = SimpleNamespace(num_timesteps=total)

    def __call__(self, step: int, timestep: Any, latents: Any) -> None:
        self._watch(self._cascade, step, timestep, {})
        if self._watch.canceled:
            raise Canceled


class SafetyChecker(IFSafetyChecker):
    """With what transformers wants done at the end of a model's making."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.post_init()


def safety_checker(
    folder: Path, device: str, dtype: torch.dtype
) -> Callable[[Image.Image], bool] | None:
    """The safety checker that stage I may bring, one picture at a time."""
    if not (folder / "safety_checker").is_dir():
        return None
    checker: Any = SafetyChecker.from_pretrained(
        folder / "safety_checker", dtype=dtype, use_safetensors=True, local_files_only=True
    )
    checker.to(device)
    extractor = CLIPImageProcessorPil.from_pretrained(folder / "feature_extractor")

    def unsafe(picture: Image.Image) -> bool:
        pixels = extractor(picture, return_tensors="pt").pixel_values.to(device, dtype)
        # What it would black out is not the picture.
        _, verdicts, _ = checker(clip_input=pixels, images=np.zeros((1, 1)))
        return bool(verdicts[0])

    return unsafe
