"""The training of the tiny models: a run that was cut off ends as an uninterrupted one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BlipForQuestionAnswering

from workers.training.questions import PHRASES, answer, questions
from workers.training.tiny import (
    autoencoder,
    captioner,
    diffuser,
    loop,
    prompts,
    translator,
    vqa,
)
from workers.training.world import SHAPES, Scene, all_scenes


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (autoencoder, captioner, diffuser, prompts, translator, vqa):
        monkeypatch.setattr(module, "BATCH", 4)


def state(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return loop.weights(name, folder)


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("autoencoder", autoencoder.fit),
        ("captioner", captioner.fit),
        ("translator", translator.fit),
        ("vqa", vqa.fit),
    ],
)
def test_resumes_to_the_same_state(name: str, fit: Callable[..., None], tmp_path: Path) -> None:
    fit(tmp_path / "whole", 1, "cpu", steps=4)
    fit(tmp_path / "cut", 1, "cpu", steps=4, stop_at=2)
    fit(tmp_path / "cut", 1, "cpu", steps=4)
    whole, cut = (state(tmp_path / run, name) for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, rtol=0, atol=0)


def test_diffuser_trains_resumes_and_is_written_out(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    autoencoder.fit(folder, 1, "cpu", steps=2)
    prompts.fit(folder, 1, "cpu", steps=2)
    diffuser.fit(folder, 1, "cpu", steps=3, places=6)
    whole = state(folder, "diffuser")
    (folder / "diffuser.pt").unlink()
    diffuser.fit(folder, 1, "cpu", steps=3, places=6, stop_at=1)
    diffuser.fit(folder, 1, "cpu", steps=3, places=6)
    for key, value in state(folder, "diffuser").items():
        torch.testing.assert_close(value, whole[key], rtol=0, atol=0)
    for _ in range(2):  # the second export replaces the first
        diffuser.export(folder, tmp_path / "out", 1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["diffuser"]
    assert (tmp_path / "out" / "diffuser" / "model_index.json").is_file()


def test_vqa_is_written_out_as_it_was_trained(tmp_path: Path) -> None:
    vqa.fit(tmp_path / "work", 1, "cpu", steps=1)
    vqa.export(tmp_path / "work", tmp_path / "out", 1)
    model: Any = BlipForQuestionAnswering.from_pretrained(
        tmp_path / "out" / "vqa", use_safetensors=True
    )
    trained = {
        name.removeprefix("model."): value
        for name, value in state(tmp_path / "work", "vqa").items()
        if name.startswith("model.")
    }
    assert trained.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=0, atol=0)


def test_vqa_reads_every_word_of_questions_and_answers() -> None:
    words = vqa.tokenizer()
    for topic in PHRASES:
        for shape in SHAPES:
            batch = words(questions(topic, shape)).input_ids
            assert max(map(len, batch)) <= vqa.LENGTH
            assert not any(words.unk_token_id in numbers for numbers in batch)
        answers = words([answer(scene, topic) for scene in all_scenes()]).input_ids
        assert {len(numbers) for numbers in answers} == {3}
        assert not any(words.unk_token_id in numbers for numbers in answers)
    assert words("What COLOUR is it ?").input_ids == words("what colour is it?").input_ids


def test_some_questions_hold_an_unknown_word_or_lack_the_mark() -> None:
    rng = np.random.default_rng(2)
    scene = Scene("circle", "red", "large", "white")
    texts = [vqa.asked(scene, "colour", rng) for _ in range(400)]
    assert 0.10 < np.mean(["[UNK]" in text for text in texts]) < 0.20
    assert 0.70 < np.mean([text.endswith("?") for text in texts]) < 0.80


def test_another_seed_trains_another_model(tmp_path: Path) -> None:
    for seed in (1, 2):
        translator.fit(tmp_path / str(seed), seed, "cpu", steps=1)
    one, other = (state(tmp_path / str(seed), "translator") for seed in (1, 2))
    key = "model.shared.weight"
    assert not torch.equal(one[key], other[key])


def test_learning_rate_rises_holds_and_falls() -> None:
    rates = [loop.rate(step, 1000, 1.0, warmup=100, decay_from=0.5) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100] == rates[499] == 1.0
    assert rates[500:] == sorted(rates[500:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_prompts_say_what_the_scene_is() -> None:
    assert prompts._labels("a large red circle on a white background") == [0, 0, 1, 0]
    assert prompts._labels("a red circle") == [0, 0, 2, 5]
    assert prompts._labels("on a blue background") == [3, 7, 2, 4]
    words = prompts.tokenizer()
    numbers = prompts.tokens(words, ["a large red circle on a white background", "", "zebra " * 99])
    assert numbers.shape == (3, prompts.LENGTH)
    assert len(words("a large red circle on a white background").input_ids) == 10


def test_loss_weights_count_surroundings_and_rest_alike() -> None:
    weight = diffuser._weight(Scene("circle", "red", "small", "white"))
    assert weight.mean() == pytest.approx(1.0, abs=1e-5)
    assert weight.max() * (weight == weight.max()).sum() == pytest.approx(128, abs=0.1)
    assert np.unique(weight).size == 2
