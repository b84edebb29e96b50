"""The translator with every architecture, random weights, and the shipped one."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelNotAvailable, PredictionFailed
from shared.model_store import CHECKPOINTS
from tests.checkpoints.captioners import git
from tests.checkpoints.translators import BUILDERS, t5
from tests.workers.families import Recorder
from workers.families.translator import Translator
from workers.predictor import Batch, Checkpoint
from workers.translation.calls import cut
from workers.translation.decoding import Call, Engine, Report

# With random weights many models write one token over and over, or a language: not so.
NO_TWICE = {"no_repeat_ngram_size": 1, "min_new_tokens": 12}
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "nllb": {**NO_TWICE, "suppress_tokens": [*range(4), 37, *(set(range(38, 240)) - {48, 94})]},
    "m2m100": {**NO_TWICE, "suppress_tokens": [*range(4), *(set(range(32, 140)) - {34, 56})]},
    "mbart": {**NO_TWICE, "suppress_tokens": [0, 1, 3, *(set(range(34, 87)) - {34, 41})]},
    "marian": NO_TWICE,
    "marian_multi": NO_TWICE,
}


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    folder = tmp_path_factory.mktemp("translators")
    translator = Translator("cpu")
    for name, build in BUILDERS.items():
        translator.load(Checkpoint(name, build(folder / name), "r"))
    return translator


def sample(text: str, target: str = "arb_Arab", source: str = "eng_Latn") -> dict[str, str]:
    return {"text": text, "source": source, "target": target}


def translate(
    translator: Translator,
    model: str,
    samples: list[dict[str, str]],
    size: int = 4,
    **params: Any,
) -> list[str]:
    params = {"max_tokens": 12, **PARAMS.get(model, {}), **params}
    batch = Batch(model, params, size, samples)
    return [result["text"] for result in translator.predict(batch, Recorder())]


@pytest.mark.parametrize("model", BUILDERS)
def test_a_translation_is_the_same_in_any_company(translator: Translator, model: str) -> None:
    texts = ["a", "hello world", "the end of the day", "x y z " * 8, "cab", "quite another one"]
    samples = [sample(text) for text in texts]
    alone = [translate(translator, model, [each])[0] for each in samples]
    assert len(set(alone)) > 2
    assert translate(translator, model, samples[:4]) == alone[:4]
    assert translate(translator, model, samples[:1:-1]) == alone[:1:-1]
    assert (
        translate(translator, model, samples[1:2] * 3 + samples[5:]) == alone[1:2] * 3 + alone[5:]
    )


@pytest.mark.parametrize("model", ["marian_multi", "t5"])
def test_beams_do_not_depend_on_company_either(translator: Translator, model: str) -> None:
    samples = [sample(text) for text in ("a", "hello world", "the end of the day", "jump")]
    options = {"num_beams": 3, "no_repeat_ngram_size": 2, "min_new_tokens": 0}
    alone = [translate(translator, model, [each], **options)[0] for each in samples]
    assert translate(translator, model, samples, **options) == alone
    assert translate(translator, model, samples[::-1], **options) == alone[::-1]
    assert alone != translate(translator, model, samples, **{**options, "num_beams": 1})


@pytest.mark.parametrize("model", sorted(BUILDERS.keys() - {"marian"}))
def test_targets_may_differ_within_a_batch(translator: Translator, model: str) -> None:
    targets = ["arb_Arab", "fra_Latn", "arb_Arab", "fra_Latn"]
    samples = [sample("hello world", target) for target in targets]
    arabic, french, *rest = translate(translator, model, samples)
    assert arabic != french
    assert rest == [arabic, french]
    assert translate(translator, model, samples[:1]) == [arabic]


class Counted:
    """An engine that keeps the shapes of its calls."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.calls: list[Call] = []

    def run(self, call: Call, report: Report) -> list[list[int]] | None:
        self.calls.append(call)
        return self.engine.run(call, report)


def test_many_sentences_cost_few_calls_and_little_padding(translator: Translator) -> None:
    draw = random.Random(0)
    texts = [
        "".join(draw.choices("abcdefgh", k=min(120, round(draw.lognormvariate(3.1, 0.55)))))
        for _ in range(256)
    ]
    loaded = translator._models["marian"]
    counted = Counted(loaded.engine)
    translator._models["counted"] = replace(loaded, engine=counted)
    samples = [sample(text) for text in texts]
    together = translate(translator, "counted", samples, 32, max_tokens=2)
    assert len(together) == 256
    calls = counted.calls[:]
    assert len(calls) <= 13
    read = sum(len(tokens) for call in calls for tokens in call.texts)
    assert read / sum(call.size * call.width for call in calls) > 0.5
    assert len({(call.size, call.width) for call in calls}) <= 3
    for call in calls:  # neighbours are of like length
        assert [len(tokens) for tokens in call.texts] == sorted(map(len, call.texts))
    for place in (0, 17, 100, 255):
        alone = translate(translator, "counted", samples[place : place + 1], 32, max_tokens=2)
        assert alone == together[place : place + 1]


@pytest.mark.parametrize("model", ["nllb", "m2m100", "mbart", "marian_multi", "madlad", "qwen2"])
def test_an_unknown_language_is_named_with_the_nearest(translator: Translator, model: str) -> None:
    with pytest.raises(PredictionFailed, match=f"{model} does not know the language xyz_Latn$"):
        translate(translator, model, [sample("a", "xyz_Latn")])
    with pytest.raises(PredictionFailed, match="language arb_Latn; the nearest: arb_Arab"):
        translate(translator, model, [sample("a", "arb_Latn")])


@pytest.mark.parametrize("model", ["nllb", "marian", "t5", "qwen2"])
def test_a_long_text_is_translated_whole(translator: Translator, model: str) -> None:
    lines = [("", "the end of it. " * 60), ("\n\n  ", "w" * 900), ("\n", "last"), ("", "")]
    loaded = translator._models[model]
    pieces = list(cut(loaded.dialect, loaded.limit, 0, lines, "eng_Latn", "arb_Arab"))
    assert {piece.line for piece in pieces} == {0, 1, 2}
    assert all(len(piece.tokens) < piece.width <= loaded.limit for piece in pieces)
    if model in ("nllb", "marian"):  # which add no words of their own
        decode = loaded.dialect.tokenizer.batch_decode
        read = decode([piece.tokens for piece in pieces], skip_special_tokens=True)
        assert "".join("".join(read).split()) == "".join(line for _, line in lines).replace(" ", "")
    (written,) = translate(
        translator, model, [sample("".join(gap + line for gap, line in lines))], 8, max_tokens=2
    )
    assert written.count("\n") >= 3


@pytest.mark.parametrize("model", ["marian", "nllb", "llama"])
def test_sentences_and_lines_stay_apart(translator: Translator, model: str) -> None:
    texts = ["hello world", "another one"]
    first, second = translate(translator, model, [sample(text) for text in texts])
    (both,) = translate(translator, model, [sample(" hello world\n\n  1. another one\n- - -\n")])
    assert both == f" {first}\n\n  1. {second}\n- - -\n"


@pytest.mark.parametrize("model", BUILDERS)
@pytest.mark.parametrize(
    "text",
    [
        " \n ",
        "\x00\x07",
        "\ud800 lone",
        "\u200f\u202eabc\u202c",
        "🎉👨‍👩‍👧",
        "a\r\nb\u2028c",
        "</s> <pad>",
        "-",
        "",
    ],
)
def test_nothing_in_a_text_breaks_a_model(translator: Translator, model: str, text: str) -> None:
    (written,) = translate(translator, model, [sample(text)], 1, max_tokens=2, min_new_tokens=0)
    written.encode()
    if not any(map(str.isalnum, text)):
        assert written == text.replace("\x00\x07", "")


def test_progress_and_cancel(translator: Translator) -> None:
    batch = Batch("marian", {"max_tokens": 6, "min_length": 99}, 1, [sample("a")])
    recorder = Recorder()
    translator.predict(batch, recorder)
    assert recorder.steps[-1] == (6, 6, "part 1 of 1")
    stopped = Recorder(most=2)
    assert translator.predict(batch, stopped) == []
    assert len(stopped.steps) == 2


def test_what_is_no_translator_is_named(translator: Translator, tmp_path: Path) -> None:
    git(tmp_path)
    with pytest.raises(ModelNotAvailable, match="git is no translator: neither an encoder-dec"):
        translator.load(Checkpoint("x", tmp_path, "r"))
    with pytest.raises(ModelNotAvailable, match=r"no config\.json"):
        translator.load(Checkpoint("x", tmp_path / "none", "r"))


def test_what_may_not_be_loaded_is_refused(translator: Translator, tmp_path: Path) -> None:
    t5(tmp_path)
    with pytest.raises(ModelNotAvailable, match="dtype int3 is none of float32, float16, bfloat16"):
        translator.load(Checkpoint("x", tmp_path, "r", settings={"dtype": "int3"}))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelNotAvailable, match="pickled weights alone"):
        translator.load(Checkpoint("x", tmp_path, "r"))
    (tmp_path / "config.json").write_text('{"model_type": "nothing-known"}')
    with pytest.raises(ModelNotAvailable, match=r"^[^\n]*nothing-known[^\n]*$"):
        translator.load(Checkpoint("x", tmp_path, "r"))


def test_a_model_is_forgotten(tmp_path: Path) -> None:
    translator = Translator("cpu")
    translator.load(Checkpoint("x", t5(tmp_path), "r", settings={"dtype": "bfloat16"}))
    assert len(translate(translator, "x", [sample("a")])) == 1
    translator.unload("x")
    translator.unload("x")
    assert not translator._models


def test_the_shipped_one_speaks_arabic_and_french() -> None:
    folder = CHECKPOINTS / "tiny" / "translator"
    if not folder.is_dir():
        pytest.skip("not trained yet")
    translator = Translator("cpu")
    translator.load(Checkpoint("tiny", folder, "r"))
    text = "a large red circle on a white background"
    batch = Batch("tiny", {}, 4, [sample(text, target) for target in ("arb_Arab", "fra_Latn")])
    assert [result["text"] for result in translator.predict(batch, Recorder())] == [
        "دائرة حمراء كبيرة على خلفية بيضاء",
        "un grand cercle rouge sur un fond blanc",
    ]
