"""Questions about a picture, with random weights."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from shared.errors import ModelNotAvailable, PredictionFailed
from shared.model_store import CHECKPOINTS
from tests.checkpoints import captioners
from tests.checkpoints.vqa import BUILDERS
from tests.workers.families import Recorder, noise
from workers.families.vqa import Vqa
from workers.predictor import Batch, Checkpoint

QUESTIONS = ["what is it?", "how many cats are there?", "what is he?", "why?"]
SIZES = [(48, 40), (20, 90), (100, 30)]


@pytest.fixture(scope="module")
def vqa(tmp_path_factory: pytest.TempPathFactory) -> Vqa:
    folder = tmp_path_factory.mktemp("vqa")
    vqa = Vqa("cpu")
    for name, build in BUILDERS.items():
        vqa.load(Checkpoint(name, build(folder / name), "r"))
    return vqa


def answers(
    vqa: Vqa, model: str, asked: list[tuple[int, str]], size: int = 4, **params: Any
) -> list[str]:
    samples = [
        {"image": noise(seed, *SIZES[seed % 3]), "question": question} for seed, question in asked
    ]
    batch = Batch(model, {"max_tokens": 6, "min_new_tokens": 6, **params}, size, samples)
    return [result["text"] for result in vqa.predict(batch, Recorder())]


@pytest.mark.parametrize("model", BUILDERS)
def test_an_answer_is_the_same_in_any_company(vqa: Vqa, model: str) -> None:
    asked = [(seed, QUESTIONS[seed % 4]) for seed in range(6)]
    alone = [answers(vqa, model, [one])[0] for one in asked]
    assert len(set(alone)) > 3
    assert answers(vqa, model, asked[:4]) == alone[:4]
    assert answers(vqa, model, asked[:2:-1]) == alone[:2:-1]
    assert answers(vqa, model, [asked[0], asked[2]]) == [alone[0], alone[2]]


@pytest.mark.parametrize("model", BUILDERS)
def test_an_answer_depends_on_question_and_picture(vqa: Vqa, model: str) -> None:
    same_picture = {answers(vqa, model, [(0, question)])[0] for question in QUESTIONS}
    same_question = {answers(vqa, model, [(seed, QUESTIONS[0])])[0] for seed in range(8)}
    assert len(same_picture) > 1
    assert len(same_question) > 1


@pytest.mark.parametrize("model", BUILDERS)
def test_every_token_is_reported_and_a_cancel_stops_at_once(vqa: Vqa, model: str) -> None:
    samples = [{"image": noise(0), "question": "what?"}]
    batch = Batch(model, {"max_tokens": 12, "min_new_tokens": 12}, 2, samples)
    recorder = Recorder(most=3)
    assert vqa.predict(batch, recorder) == []
    assert recorder.steps == [(i, 12, f"token {i}") for i in (1, 2, 3)]


def test_a_question_longer_than_the_model_is_refused(vqa: Vqa) -> None:
    with pytest.raises(PredictionFailed, match=r"has 72 tokens and the model takes 64"):
        answers(vqa, "blip-vqa", [(0, "a " * 70)])


def test_the_shipped_one_answers_what_it_sees() -> None:
    folder = CHECKPOINTS / "tiny" / "vqa"
    if not folder.is_dir():
        pytest.skip("not trained yet")
    vqa = Vqa("cpu")
    vqa.load(Checkpoint("tiny", folder, "r"))
    picture = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(picture).ellipse((60, 60, 240, 240), fill=(230, 30, 30))
    asked = {
        "what shape is it?": "circle",
        "what colour is the circle?": "red",
        "what colour is the background?": "white",
        "is it small?": "no",
    }
    samples = [{"image": picture, "question": question} for question in asked]
    results = vqa.predict(Batch("tiny", {}, 4, samples), Recorder())
    assert [result["text"] for result in results] == list(asked.values())


def test_a_captioner_is_refused(vqa: Vqa, tmp_path: Path) -> None:
    captioners.blip(tmp_path)
    with pytest.raises(ModelNotAvailable, match="blip answers no questions"):
        vqa.load(Checkpoint("x", tmp_path, "r"))


def test_an_unloaded_model_is_gone(tmp_path: Path) -> None:
    vqa = Vqa("cpu")
    vqa.load(Checkpoint("x", BUILDERS["blip-vqa"](tmp_path), "r"))
    vqa.unload("x")
    with pytest.raises(KeyError):
        answers(vqa, "x", [(0, "what?")])
