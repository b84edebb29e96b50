"""The stage that draws, and the part of an input that all kinds which draw have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.contracts import ImageInput, ImageOutput, Produced, Sample, Step
from shared.kind import Count, Guidance, KindInput, Seed, Side, Stage, Steps, Text
from shared.models import ModelChoice
from shared.schedulers import SCHEDULERS
from shared.stages import Prompt

FALLBACK = {"guidance": 7.5}  # where neither the request nor the model says


class Lora(KindInput):
    """An adapter of the registry, and how strongly it acts."""

    name: Annotated[str, Field(min_length=1)]
    scale: Annotated[float, Field(ge=-4, le=4)] = 1.0


class DrawInput(KindInput):
    """What any drawing may be told; what is left open is the model's."""

    negative_prompt: Text | None = None
    n: Count = 1
    seed: Seed | None = None
    width: Side | None = None
    height: Side | None = None
    steps: Steps | None = None
    guidance: Guidance | None = Field(default=None, description="7.5 where the model has no own.")
    scheduler: Literal[SCHEDULERS] | None = None  # type: ignore[valid-type]
    loras: Annotated[list[Lora], Field(max_length=4)] = []


@dataclass(frozen=True)
class DrawStage(Stage):
    """Prompt, and perhaps a picture to redraw and a mask → `prompt` and n pictures.

    The prompt is given, or made of the outputs of earlier stages. The i-th of the n pictures is
    a sample of its own with seed + i: never one call for several pictures of a prompt, so that
    a picture's bytes depend on its own seed alone. White in the mask is drawn anew.
    """

    kind: str
    request: DrawInput
    prompt: str | Prompt
    image: str | None = None
    mask: str | None = None
    strength: float | None = None
    name: str = "diffuse"

    def plan(self, models: ModelChoice) -> Step:
        request = self.request
        models.check_loras([lora.name for lora in request.loras])
        return models.step(
            self.name,
            "diffuser",
            kind=self.kind,
            fallback=FALLBACK,
            task=self.task,
            width=request.width,
            height=request.height,
            steps=request.steps,
            guidance=request.guidance,
            strength=self.strength,
            scheduler=request.scheduler,
            loras=[lora.model_dump() for lora in request.loras] or None,
        )

    @property
    def task(self) -> str:
        """The name of the task among diffusion pipelines."""
        if self.mask:
            return "inpainting"
        return "image-to-image" if self.image else "text-to-image"

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        prompt = self.prompt if isinstance(self.prompt, str) else self.prompt.text(outputs)
        data: dict[str, Any] = {
            "prompt": prompt,
            "negative_prompt": self.request.negative_prompt,
        }
        width, height = step.params.get("width"), step.params.get("height")
        size = (width, height) if width and height else None
        for name, picture in (("image", self.image), ("mask", self.mask)):
            if picture:
                data[name] = ImageInput(picture, size)
        return [Sample({**data, "seed": self.seed(i)}) for i in range(self.request.n)]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        images = tuple(
            ImageOutput(
                f"image-{i}.png",
                result["image"],
                self.seed(i),
                drew=True,
                unsafe=result.get("unsafe"),
            )
            for i, result in enumerate(results)
        )
        return Produced({"prompt": results[0]["prompt"]}, images)

    def seed(self, i: int) -> int:
        """The seed of the i-th picture."""
        return (self.request.seed or 0) + i
