"""The captioner with every architecture, random weights."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from shared.errors import ModelNotAvailable, PredictionFailed
from shared.model_store import CHECKPOINTS
from tests.checkpoints.captioners import BUILDERS, git
from tests.checkpoints.translators import marian
from tests.checkpoints.vqa import blip_vqa
from tests.workers.families import Recorder, noise
from workers.families.captioner import Captioner
from workers.predictor import Batch, Checkpoint

KINDS = ["blip", "vit-gpt2", "git"]


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    folder = tmp_path_factory.mktemp("captioners")
    captioner = Captioner("cpu")
    for kind in KINDS:
        captioner.load(Checkpoint(kind, BUILDERS[kind](folder / kind), "r"))
    return captioner


def captions(
    captioner: Captioner, kind: str, pictures: list[int], size: int = 4, **params: Any
) -> list[str]:
    prompt = params.pop("prompt", None)
    samples = [{"image": noise(seed), "prompt": prompt} for seed in pictures]
    batch = Batch(kind, {"max_tokens": 8, "num_beams": 2, **params}, size, samples)
    return [result["text"] for result in captioner.predict(batch, Recorder())]


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_is_the_same_in_any_company(captioner: Captioner, kind: str) -> None:
    alone = [captions(captioner, kind, [seed])[0] for seed in range(8)]
    assert all(alone)
    assert captions(captioner, kind, [0, 1, 2, 3]) == alone[:4]
    assert captions(captioner, kind, [7, 6, 5]) == alone[:4:-1]
    assert captions(captioner, kind, [3, 3, 0, 7]) == [alone[i] for i in (3, 3, 0, 7)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_begins_with_the_prompt(captioner: Captioner, kind: str) -> None:
    (text,) = captions(captioner, kind, [1], prompt="a cat", max_tokens=3)
    assert text.replace(" ", "").startswith("acat")
    assert len(text) > len("a cat")


def test_samples_with_other_prompts_share_a_batch(captioner: Captioner) -> None:
    prompts = [None, "a cat", None, "dog"]
    samples = [{"image": noise(i), "prompt": prompt} for i, prompt in enumerate(prompts)]
    batch = Batch("git", {"max_tokens": 5}, 4, samples)
    together = captioner.predict(batch, Recorder())
    for place, sample in enumerate(samples):
        alone = captioner.predict(Batch("git", {"max_tokens": 5}, 4, [sample]), Recorder())
        assert together[place] == alone[0]


@pytest.mark.parametrize("kind", KINDS)
def test_length_is_bounded_as_published_or_as_asked(captioner: Captioner, kind: str) -> None:
    def tokens(**params: Any) -> int:
        recorder = Recorder()
        sample = {"image": noise(0), "prompt": None}
        captioner.predict(Batch(kind, {"min_length": 60, **params}, 1, [sample]), recorder)
        return len(recorder.steps)

    assert tokens(max_length=16) == 15  # the first one is given
    assert tokens(max_length=16, max_tokens=9) == 9
    assert tokens(max_tokens=5000, min_length=0) <= 512


@pytest.mark.parametrize("kind", KINDS)
def test_bad_words_are_never_begun(captioner: Captioner, kind: str) -> None:
    options: dict[str, Any] = {"min_length": 10, "max_tokens": 10}
    (text,) = captions(captioner, kind, [0], **options)
    word = next(letter for letter in text if letter != " ")
    (other,) = captions(captioner, kind, [0], **options, bad_words=[f"{word}bc and d"])
    assert not other.startswith(word)
    if kind == "vit-gpt2":  # whose letters have one token each, within a word or not
        assert word not in other


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_recipe_is_followed(captioner: Captioner, kind: str) -> None:
    recipe = {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0}
    recipe |= {"no_repeat_ngram_size": 2, "repetition_penalty": 1.5, "min_length": 12}
    (text,) = captions(captioner, kind, [0], **recipe, max_tokens=14)
    letters = text.replace(" ", "")
    pairs = [letters[i : i + 2] for i in range(len(letters) - 1)]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_reported_and_a_cancel_stops_at_once(
    captioner: Captioner, kind: str
) -> None:
    batch = Batch(
        kind, {"max_tokens": 12, "min_length": 60}, 2, [{"image": noise(0), "prompt": None}]
    )
    recorder = Recorder(most=3)
    assert captioner.predict(batch, recorder) == []
    assert recorder.steps == [(i, 12, f"token {i}") for i in (1, 2, 3)]


def test_a_prompt_longer_than_the_model_is_refused(captioner: Captioner) -> None:
    with pytest.raises(PredictionFailed, match="101 tokens are given and 64 is all"):
        captions(captioner, "git", [0], prompt="a " * 100)


def test_the_shipped_one_says_what_it_sees() -> None:
    folder = CHECKPOINTS / "tiny" / "captioner"
    if not folder.is_dir():
        pytest.skip("not trained yet")
    captioner = Captioner("cpu")
    captioner.load(Checkpoint("tiny", folder, "r"))
    picture = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(picture).ellipse((60, 60, 240, 240), fill=(230, 30, 30))
    for prompt in (None, "a large red"):
        samples = [{"image": picture, "prompt": prompt}]
        (result,) = captioner.predict(Batch("tiny", {}, 4, samples), Recorder())
        assert result["text"] == "a large red circle on a white background"


def test_any_size_of_picture_is_read(captioner: Captioner) -> None:
    for width, height in ((1, 1), (7, 300), (900, 11)):
        sample = {"image": noise(0, width, height), "prompt": None}
        (result,) = captioner.predict(Batch("blip", {}, 1, [sample]), Recorder())
        assert isinstance(result["text"], str)


def test_an_unknown_architecture_is_named(captioner: Captioner, tmp_path: Path) -> None:
    marian(tmp_path / "marian")
    with pytest.raises(ModelNotAvailable, match=r"marian is no captioner; known are blip, git"):
        captioner.load(Checkpoint("x", tmp_path / "marian", "r"))
    blip_vqa(tmp_path / "vqa")
    with pytest.raises(ModelNotAvailable, match="BlipForQuestionAnswering is no captioner"):
        captioner.load(Checkpoint("x", tmp_path / "vqa", "r"))
    with pytest.raises(ModelNotAvailable, match=r"no config\.json"):
        captioner.load(Checkpoint("x", tmp_path / "none", "r"))


def test_pickled_weights_are_not_loaded(captioner: Captioner, tmp_path: Path) -> None:
    git(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelNotAvailable, match=r"pickled weights alone \(pytorch_model\.bin\)"):
        captioner.load(Checkpoint("x", tmp_path, "r"))


def test_an_unloaded_model_is_gone(tmp_path: Path) -> None:
    captioner = Captioner("cpu")
    captioner.load(Checkpoint("git", git(tmp_path), "r"))
    captioner.unload("git")
    with pytest.raises(KeyError):
        captions(captioner, "git", [0])
