"""The stages: what a step is cut into, and what its results become."""

from pathlib import Path
from typing import Any

from PIL import Image

from shared.contracts import ImageInput, ImageOutput, Priority, Produced
from shared.models import ModelChoice, Registry
from shared.stages import CaptionStage, DrawStage, TranslateCaptionStage, TranslateTextStage

CHOICE = ModelChoice(Registry.load(Path("/nonexistent")), "tiny", {}, Priority.INTERACTIVE)


def data(stage: Any, **outputs: Any) -> list[dict[str, Any]]:
    return [sample.data for sample in stage.samples(stage.plan(CHOICE), outputs)]


def test_a_caption_is_one_sample() -> None:
    stage = CaptionStage("file_1", prompt="a picture of")
    assert data(stage) == [{"image": ImageInput("file_1", longest=1024), "prompt": "a picture of"}]
    assert stage.produce([{"text": "a red circle"}]) == Produced({"caption": "a red circle"})


def test_a_caption_is_translated_into_every_language() -> None:
    stage = TranslateCaptionStage(["arb_Arab", "fra_Latn"])
    assert data(stage, caption="a red circle") == [
        {"text": "a red circle", "source": "eng_Latn", "target": "arb_Arab"},
        {"text": "a red circle", "source": "eng_Latn", "target": "fra_Latn"},
    ]
    assert stage.produce([{"text": "دائرة حمراء"}, {"text": "un cercle rouge"}]) == Produced(
        {"translations": {"arb_Arab": "دائرة حمراء", "fra_Latn": "un cercle rouge"}}
    )


def test_a_translation_has_the_form_of_its_text() -> None:
    single = TranslateTextStage("one", "eng_Latn", "arb_Arab")
    assert data(single) == [{"text": "one", "source": "eng_Latn", "target": "arb_Arab"}]
    assert single.produce([{"text": "1"}]) == Produced({"translation": "1"})
    several = TranslateTextStage(["one", "two"], "eng_Latn", "arb_Arab")
    assert [sample["text"] for sample in data(several)] == ["one", "two"]
    assert several.produce([{"text": "1"}, {"text": "2"}]) == Produced({"translation": ["1", "2"]})
    alone = TranslateTextStage(["one"], "eng_Latn", "arb_Arab")
    assert alone.produce([{"text": "1"}]) == Produced({"translation": ["1"]})


def test_n_pictures_are_n_samples_with_a_seed_each() -> None:
    stage = DrawStage("generate", 3, 7, prompt="p", negative_prompt="q")
    assert data(stage) == [
        {"prompt": "p", "negative_prompt": "q", "seed": seed} for seed in (7, 8, 9)
    ]
    picture = Image.new("RGB", (8, 8))
    produced = stage.produce([{"image": picture, "prompt": "p"}] * 3)
    assert produced.outputs == {"prompt": "p"}
    assert produced.images == tuple(ImageOutput(f"image-{i}.png", picture, 7 + i) for i in range(3))


def test_a_caption_is_drawn_where_no_prompt_is_given() -> None:
    stage = DrawStage("reimagine", 1, 0)
    assert data(stage, caption="a red circle", translations={"arb_Arab": "x"}) == [
        {"prompt": "a red circle", "negative_prompt": None, "seed": 0}
    ]


def test_the_picture_to_redraw_is_fetched_at_the_size_of_the_step() -> None:
    [sample] = data(DrawStage("blend", 1, 0, prompt="p", image="file_2", height=96))
    assert sample["image"] == ImageInput("file_2", (64, 96))
