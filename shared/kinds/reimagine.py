"""`reimagine`: read a picture, edit and translate what was read, and draw new pictures from it."""

from typing import Literal

from pydantic import model_validator

from shared.drawing import DrawInput, DrawStage
from shared.edits import Edits, Template
from shared.kind import ImageRef, Kind, Languages, OcrLanguages, Preset, Stage
from shared.stages import CaptionStage, OcrStage, Prompt, Read, TranslatePromptStage

PRESETS = {
    "image-text-image": Preset(
        fields={"read": "caption", "translate_to": [], "steps": 20, "guidance": 7.0},
        models={"captioner": "blip-base", "diffuser": "sd21"},
        options={
            "captioner": {
                "max_length": 30,
                "num_beams": 4,
                "early_stopping": True,
                "repetition_penalty": 1.5,
                "length_penalty": 1.0,
                "bad_words": ["black and white"],
            }
        },
    ),
    "caption-arabic-generation": Preset(
        fields={
            "read": "caption",
            "translate_to": ["arb_Arab"],
            "steps": 50,
            "guidance": 7.5,
        },
        models={
            "captioner": "blip-large",
            "translator": "nllb-200-distilled-600m",
            "diffuser": "sd15",
        },
    ),
}


class ReimagineInput(DrawInput):
    image: ImageRef
    read: Read = "caption"
    languages: OcrLanguages = ["en"]
    edit: Edits = []
    translate_to: Languages = ["arb_Arab"]
    preset: Literal["image-text-image", "caption-arabic-generation"] | None = None

    @model_validator(mode="after")
    def _templates_use_what_is_read(self) -> "ReimagineInput":
        unread = {"caption": "ocr", "ocr": "caption"}.get(self.read)
        for edit in self.edit:
            if isinstance(edit, Template) and unread in edit.fields:
                raise ValueError(f"a template uses {{{unread}}}, but `read` is {self.read}")
        return self


class Reimagine(Kind[ReimagineInput]):
    name = "reimagine"
    summary = "Read a picture, edit and translate the text and draw new pictures from it."
    Input = ReimagineInput
    presets = PRESETS

    def stages(self, request: ReimagineInput) -> list[Stage]:
        prompt = Prompt(request.read, request.edit)
        options = self.preset(request).options
        stages: list[Stage] = []
        if request.read != "ocr":
            stages.append(CaptionStage(request.image, options=options.get("captioner", {})))
        if request.read != "caption":
            stages.append(OcrStage(request.image, request.languages, annotated=False))
        if request.translate_to:
            stages.append(TranslatePromptStage(prompt, request.translate_to))
        return [*stages, DrawStage(self.name, request, prompt)]


KIND = Reimagine()
