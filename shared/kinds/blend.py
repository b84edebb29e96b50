"""`blend`: caption the first picture, then redraw the second one from that caption."""

from typing import Literal

from shared.drawing import DrawInput, DrawStage
from shared.kind import ImageRef, Kind, Languages, OptionalImageRef, Preset, Stage, Strength
from shared.stages import CaptionStage, Prompt, TranslatePromptStage

PRESETS = {
    "caption-guided": Preset(
        fields={"strength": 0.75, "guidance": 7.5, "steps": 50, "width": 768, "height": 512},
        models={"captioner": "vit-gpt2", "diffuser": "sd15"},
        options={"captioner": {"max_length": 16, "num_beams": 4}},
    )
}


class BlendInput(DrawInput):
    first: ImageRef
    second: ImageRef
    mask: OptionalImageRef = None
    translate_to: Languages = []
    strength: Strength = 0.75
    preset: Literal["caption-guided"] | None = None


class Blend(Kind[BlendInput]):
    name = "blend"
    summary = "Caption the first picture and redraw the second one, or what the mask shows of it."
    Input = BlendInput
    presets = PRESETS

    def stages(self, request: BlendInput) -> list[Stage]:
        prompt = Prompt()
        options = self.preset(request).options
        stages: list[Stage] = [CaptionStage(request.first, options=options.get("captioner", {}))]
        if request.translate_to:
            stages.append(TranslatePromptStage(prompt, request.translate_to))
        drawing = DrawStage(
            self.name,
            request,
            prompt,
            image=request.second,
            mask=request.mask,
            strength=request.strength,
        )
        return [*stages, drawing]


KIND = Blend()
