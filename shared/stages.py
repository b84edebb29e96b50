"""The stages that kinds are put together from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.contracts import ImageInput, ImageOutput, Produced, Sample, Step
from shared.edits import Edits, edited, joined
from shared.errors import PromptRejected
from shared.kind import Stage
from shared.models import ModelChoice

CAPTION_PIXELS = 1024  # captioners look at 224 to 480 pixels a side

Read = Literal["caption", "ocr", "both"]


@dataclass(frozen=True)
class CaptionStage(Stage):
    """Picture → `caption`."""

    image: str
    prompt: str | None = None
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # of a preset
    name: str = "caption"

    def plan(self, models: ModelChoice) -> Step:
        return models.step(
            self.name, "captioner", **{**self.options, "max_tokens": self.max_tokens}
        )

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        image = ImageInput(self.image, longest=CAPTION_PIXELS)
        return [Sample({"image": image, "prompt": self.prompt})]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        return Produced({"caption": results[0]["text"]})


@dataclass(frozen=True)
class AnswerStage(Stage):
    """Picture and question → `answer`."""

    image: str
    question: str
    name: str = "answer"

    def plan(self, models: ModelChoice) -> Step:
        return models.step(self.name, "vqa")

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        image = ImageInput(self.image, longest=CAPTION_PIXELS)
        return [Sample({"image": image, "question": self.question})]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        return Produced({"answer": results[0]["text"]})


@dataclass(frozen=True)
class OcrStage(Stage):
    """Picture → `text` and `regions`; with `annotated` also the picture with its boxes drawn."""

    image: str
    languages: Sequence[str]
    annotated: bool
    name: str = "ocr"

    def plan(self, models: ModelChoice) -> Step:
        for index, language in enumerate(self.languages):
            models.check_language("ocr", language, f"/input/languages/{index}")
        return models.step(self.name, "ocr", languages=list(self.languages))

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        return [Sample({"image": ImageInput(self.image)})]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        [result] = results
        images = (ImageOutput("annotated.png", result["image"]),) if self.annotated else ()
        return Produced({"text": result["text"], "regions": result["regions"]}, images)


@dataclass(frozen=True)
class Prompt:
    """What is translated and drawn: what was read from a picture, edited."""

    read: Read = "caption"
    edits: Edits = field(default_factory=list)

    def text(self, outputs: Mapping[str, Any]) -> str:
        """The prompt, from the outputs of the stages that read. Raises PromptRejected."""
        read = {}
        if self.read != "ocr":
            read["caption"] = outputs["caption"]
        if self.read != "caption":
            read["ocr"] = outputs["text"]
        text = read.get("caption", "")
        if read.get("ocr"):
            text = joined(f"{text}," if text else "", read["ocr"])
        if not text and not self.edits:
            raise PromptRejected("nothing was read from the picture, so there is nothing to draw")
        return edited(text, self.edits, read)


@dataclass(frozen=True)
class TranslatePromptStage(Stage):
    """The prompt → `translations`, one per target language."""

    prompt: Prompt
    targets: Sequence[str]
    name: str = "translate"

    def plan(self, models: ModelChoice) -> Step:
        for index, target in enumerate(self.targets):
            models.check_target("translator", target, f"/input/translate_to/{index}")
        return models.step(self.name, "translator")

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        text = self.prompt.text(outputs)
        return [
            Sample({"text": text, "source": "eng_Latn", "target": target})
            for target in self.targets
        ]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        texts = (result["text"] for result in results)
        return Produced({"translations": dict(zip(self.targets, texts, strict=True))})


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
        return [
            Sample({"text": self._texts[place], "source": self.source, "target": self.target})
            for place in self._by_length
        ]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        written = dict(zip(self._by_length, (result["text"] for result in results), strict=True))
        texts = [written[place] for place in range(len(written))]
        return Produced({"translation": texts[0] if isinstance(self.text, str) else texts})

    @property
    def _texts(self) -> Sequence[str]:
        return [self.text] if isinstance(self.text, str) else self.text

    @property
    def _by_length(self) -> Sequence[int]:
        """The texts' places, so that those of like length stand in one batch: less padding."""
        return sorted(range(len(self._texts)), key=lambda place: len(self._texts[place]))
