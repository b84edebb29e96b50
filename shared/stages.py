"""The stages that kinds are put together from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.contracts import ImageInput, ImageOutput, Produced, Sample, Step
from shared.kind import Stage
from shared.models import ModelChoice

CAPTION_PIXELS = 1024  # captioners look at 224 to 480 pixels a side


@dataclass(frozen=True)
class CaptionStage(Stage):
    """Picture → `caption`."""

    image: str
    prompt: str | None = None
    max_tokens: int | None = None
    name: str = "caption"

    def plan(self, models: ModelChoice) -> Step:
        return models.step(self.name, "captioner", max_tokens=self.max_tokens)

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        image = ImageInput(self.image, longest=CAPTION_PIXELS)
        return [Sample({"image": image, "prompt": self.prompt})]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        return Produced({"caption": results[0]["text"]})


@dataclass(frozen=True)
class TranslateCaptionStage(Stage):
    """`caption` → `translations`, one per target language."""

    targets: Sequence[str]
    name: str = "translate"

    def plan(self, models: ModelChoice) -> Step:
        for index, target in enumerate(self.targets):
            models.check_target("translator", target, f"/input/translate_to/{index}")
        return models.step(self.name, "translator")

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        return [
            Sample({"text": outputs["caption"], "source": "eng_Latn", "target": target})
            for target in self.targets
        ]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        texts = (result["text"] for result in results)
        return Produced({"translations": dict(zip(self.targets, texts, strict=True))})


def caption_and_translate(image: str, targets: Sequence[str]) -> list[Stage]:
    """Picture → `caption` and, where languages are asked for, `translations`."""
    return [CaptionStage(image), *([TranslateCaptionStage(targets)] if targets else [])]


@dataclass(frozen=True)
class TranslateTextStage(Stage):
    """Text, or a list of texts → `translation`, of the same form."""

    text: str | list[str]
    source: str
    target: str
    name: str = "translate"

    def plan(self, models: ModelChoice) -> Step:
        models.check_source("translator", self.source, "/input/source")
        models.check_target("translator", self.target, "/input/target")
        return models.step(self.name, "translator")

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        texts = [self.text] if isinstance(self.text, str) else self.text
        return [
            Sample({"text": text, "source": self.source, "target": self.target}) for text in texts
        ]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        texts = [result["text"] for result in results]
        return Produced({"translation": texts[0] if isinstance(self.text, str) else texts})


@dataclass(frozen=True)
class DrawStage(Stage):
    """Prompt, and for image-to-image a picture → `prompt` and n pictures.

    Without a `prompt` the `caption` of an earlier stage is drawn. The i-th of the n pictures is
    a sample of its own with seed + i: never one call for several pictures of a prompt, so that
    a picture's bytes depend on its own seed alone.
    """

    kind: str
    n: int
    seed: int
    prompt: str | None = None
    negative_prompt: str | None = None
    image: str | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    name: str = "diffuse"

    def plan(self, models: ModelChoice) -> Step:
        return models.step(
            self.name,
            "diffuser",
            kind=self.kind,
            task="image-to-image" if self.image else "text-to-image",
            width=self.width,
            height=self.height,
            steps=self.steps,
            guidance=self.guidance,
            strength=self.strength,
        )

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        data: dict[str, Any] = {
            "prompt": self.prompt or outputs["caption"],
            "negative_prompt": self.negative_prompt,
        }
        if self.image:
            width, height = step.params.get("width"), step.params.get("height")
            data["image"] = ImageInput(self.image, (width, height) if width and height else None)
        return [Sample({**data, "seed": self.seed + i}) for i in range(self.n)]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        images = tuple(
            ImageOutput(f"image-{i}.png", result["image"], self.seed + i)
            for i, result in enumerate(results)
        )
        return Produced({"prompt": results[0]["prompt"]}, images)
