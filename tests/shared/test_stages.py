"""The stages: what a step is cut into, and what its results become."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.contracts import ImageInput, ImageOutput, Priority, Produced
from shared.drawing import DrawInput, DrawStage
from shared.edits import Template
from shared.errors import PromptRejected
from shared.models import ModelChoice, Registry
from shared.stages import (
    AnswerStage,
    CaptionStage,
    OcrStage,
    Prompt,
    TranslatePromptStage,
    TranslateTextStage,
)

CHOICE = ModelChoice(Registry.load(Path("/nonexistent")), "tiny", {}, Priority.INTERACTIVE)


def data(stage: Any, **outputs: Any) -> list[dict[str, Any]]:
    return [sample.data for sample in stage.samples(stage.plan(CHOICE), outputs)]


def test_a_caption_is_one_sample() -> None:
    stage = CaptionStage("file_1", prompt="a picture of")
    assert data(stage) == [{"image": ImageInput("file_1", longest=1024), "prompt": "a picture of"}]
    assert stage.produce([{"text": "a red circle"}]) == Produced({"caption": "a red circle"})


def test_a_question_is_answered() -> None:
    stage = AnswerStage("file_1", "what is it?")
    image = ImageInput("file_1", longest=1024)
    assert data(stage) == [{"image": image, "question": "what is it?"}]
    assert stage.produce([{"text": "a circle"}]) == Produced({"answer": "a circle"})


@pytest.mark.parametrize("annotated", [True, False])
def test_text_is_read_at_full_size(annotated: bool) -> None:
    stage = OcrStage("file_1", ["en"], annotated)
    assert stage.plan(CHOICE).params == {"languages": ["en"]}
    assert data(stage) == [{"image": ImageInput("file_1")}]
    picture = Image.new("RGB", (8, 8))
    regions = [{"box": [[0, 0], [8, 0], [8, 8], [0, 8]], "text": "OPEN", "confidence": 0.9}]
    produced = stage.produce([{"text": "OPEN", "regions": regions, "image": picture}])
    assert produced.outputs == {"text": "OPEN", "regions": regions}
    assert [image.name for image in produced.images] == ["annotated.png"] * annotated
    assert not any(image.drew for image in produced.images)


def test_the_prompt_is_translated_into_every_language() -> None:
    stage = TranslatePromptStage(Prompt(), ["arb_Arab", "fra_Latn"])
    assert data(stage, caption="a red circle") == [
        {"text": "a red circle", "source": "eng_Latn", "target": "arb_Arab"},
        {"text": "a red circle", "source": "eng_Latn", "target": "fra_Latn"},
    ]
    assert stage.produce([{"text": "دائرة حمراء"}, {"text": "un cercle rouge"}]) == Produced(
        {"translations": {"arb_Arab": "دائرة حمراء", "fra_Latn": "un cercle rouge"}}
    )


@pytest.mark.parametrize(
    ("read", "outputs", "text"),
    [
        ("caption", {"caption": "a shop"}, "a shop"),
        ("ocr", {"text": "OPEN"}, "OPEN"),
        ("both", {"caption": "a shop", "text": "OPEN"}, "a shop, OPEN"),
        ("both", {"caption": "a shop", "text": ""}, "a shop"),
    ],
)
def test_a_prompt_is_what_was_read(read: Any, outputs: dict[str, str], text: str) -> None:
    assert Prompt(read).text(outputs) == text


def test_a_prompt_is_edited_before_it_is_translated_and_drawn() -> None:
    prompt = Prompt("both", [Template(op="template", template="{text} / {caption} / {ocr}")])
    outputs = {"caption": "a shop", "text": "OPEN"}
    expected = "a shop, OPEN / a shop / OPEN"
    assert data(TranslatePromptStage(prompt, ["arb_Arab"]), **outputs)[0]["text"] == expected
    assert data(draw(prompt), **outputs)[0]["prompt"] == expected


def test_a_picture_without_text_gives_no_prompt() -> None:
    with pytest.raises(PromptRejected, match="nothing was read"):
        Prompt("ocr").text({"text": ""})


def test_a_translation_has_the_form_of_its_text() -> None:
    single = TranslateTextStage("one", "eng_Latn", "arb_Arab")
    assert data(single) == [{"text": "one", "source": "eng_Latn", "target": "arb_Arab"}]
    assert single.produce([{"text": "1"}]) == Produced({"translation": "1"})
    several = TranslateTextStage(["three", "two", "a"], "eng_Latn", "arb_Arab")
    assert [sample["text"] for sample in data(several)] == ["a", "two", "three"]
    assert several.produce([{"text": "1"}, {"text": "2"}, {"text": "3"}]) == Produced(
        {"translation": ["3", "2", "1"]}
    )
    alone = TranslateTextStage(["one"], "eng_Latn", "arb_Arab")
    assert alone.produce([{"text": "1"}]) == Produced({"translation": ["1"]})


def draw(prompt: str | Prompt, **given: Any) -> DrawStage:
    """A stage that draws: fields of the stage, and of its request."""
    fields = {name: given.pop(name) for name in tuple(given) if name in DrawInput.model_fields}
    return DrawStage("generate", DrawInput(**fields), prompt, **given)


def test_n_pictures_are_n_samples_with_a_seed_each() -> None:
    stage = draw("p", n=3, seed=7, negative_prompt="q")
    assert data(stage) == [
        {"prompt": "p", "negative_prompt": "q", "seed": seed} for seed in (7, 8, 9)
    ]
    picture = Image.new("RGB", (8, 8))
    produced = stage.produce([{"image": picture, "prompt": "p", "unsafe": False}] * 3)
    assert produced.outputs == {"prompt": "p"}
    assert produced.images == tuple(
        ImageOutput(f"image-{i}.png", picture, 7 + i, drew=True, unsafe=False) for i in range(3)
    )


def test_a_caption_is_drawn_where_no_prompt_is_given() -> None:
    assert data(draw(Prompt()), caption="a red circle", translations={"arb_Arab": "x"}) == [
        {"prompt": "a red circle", "negative_prompt": None, "seed": 0}
    ]


def test_picture_and_mask_are_fetched_at_the_size_of_the_step() -> None:
    [sample] = data(draw("p", image="file_2", mask="file_3", height=96))
    assert sample["image"] == ImageInput("file_2", (64, 96))
    assert sample["mask"] == ImageInput("file_3", (64, 96))
