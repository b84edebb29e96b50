"""The translator with every architecture, random weights, and the shipped one."""

from pathlib import Path

import pytest

from shared.errors import ModelNotAvailable, PredictionFailed
from tests import checkpoints
from tests.workers.families import Recorder
from workers.families.translator import Translator, cut
from workers.model_files import CHECKPOINTS
from workers.pieces import PIECE, pieces_of
from workers.predictor import Batch, Checkpoint

TARGETS = (">>ara<<", ">>fra<<")


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    folder = tmp_path_factory.mktemp("translators")
    translator = Translator("cpu")
    for name, path in {
        "nllb": checkpoints.nllb(folder / "nllb"),
        "m2m100": checkpoints.m2m100(folder / "m2m100"),
        "marian": checkpoints.marian(folder / "marian"),
        "marian_multi": checkpoints.marian(folder / "marian_multi", TARGETS),
    }.items():
        translator.load(Checkpoint(name, path, "r"))
    return translator


def sample(text: str, target: str = "arb_Arab", source: str = "eng_Latn") -> dict[str, str]:
    return {"text": text, "source": source, "target": target}


# With random weights a model writes one token over and over, or a language: not so.
LETTERS_ONLY = {"no_repeat_ngram_size": 1, "min_new_tokens": 12}
NOT_LETTERS = {
    "nllb": {"suppress_tokens": [*range(4), 37, *(set(range(38, 240)) - {48, 94})]},
    "m2m100": {"suppress_tokens": [*range(4), *(set(range(32, 140)) - {34, 56})]},
}  # all languages but Arabic and French, which are forced


def translate(
    translator: Translator, model: str, samples: list[dict[str, str]], size: int = 4
) -> list[str]:
    batch = Batch(
        model, {"max_tokens": 12, **LETTERS_ONLY, **NOT_LETTERS.get(model, {})}, size, samples
    )
    return [result["text"] for result in translator.predict(batch, Recorder())]


@pytest.mark.parametrize("model", ["nllb", "m2m100", "marian", "marian_multi"])
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


@pytest.mark.parametrize("model", ["nllb", "m2m100", "marian_multi"])
def test_targets_may_differ_within_a_batch(translator: Translator, model: str) -> None:
    targets = ["arb_Arab", "fra_Latn", "arb_Arab", "fra_Latn"]
    samples = [sample("hello world", target) for target in targets]
    arabic, french, *rest = translate(translator, model, samples)
    assert arabic != french
    assert rest == [arabic, french]
    assert translate(translator, model, samples[:1]) == [arabic]


def test_the_model_is_told_source_and_target(translator: Translator) -> None:
    nllb, m2m100 = translator._models["nllb"], translator._models["m2m100"]
    names = nllb.tokenizer.convert_ids_to_tokens(nllb.encode("a", "fra_Latn", "arb_Arab"))
    assert (names[0], names[-1]) == ("fra_Latn", "</s>")
    forced = nllb.options("arb_Arab")["forced_bos_token_id"]
    assert nllb.tokenizer.convert_ids_to_tokens(forced) == "arb_Arab"
    names = m2m100.tokenizer.convert_ids_to_tokens(m2m100.encode("a", "fra_Latn", "arb_Arab"))
    assert names[0] == "__fr__"
    assert m2m100.options("arb_Arab") == {"forced_bos_token_id": m2m100.tokenizer.get_lang_id("ar")}
    marian = translator._models["marian_multi"]
    names = marian.tokenizer.convert_ids_to_tokens(marian.encode("a", "eng_Latn", "arb_Arab"))
    assert names[0] == ">>ara<<"
    plain = translator._models["marian"]
    assert not plain.marks
    assert plain.encode("a", "eng_Latn", "arb_Arab") == plain.encode("a", "eng_Latn", "fra_Latn")


@pytest.mark.parametrize("model", ["nllb", "m2m100", "marian_multi"])
def test_an_unknown_language_is_named(translator: Translator, model: str) -> None:
    with pytest.raises(PredictionFailed, match="xyz_Latn"):
        translate(translator, model, [sample("a", "xyz_Latn")])


@pytest.mark.parametrize("model", ["nllb", "marian"])
def test_a_long_text_is_translated_whole(translator: Translator, model: str) -> None:
    lines = ["the end of it. " * 60, "\n\n  ", "w" * 700, "\n", "last"]
    loaded = translator._models[model]
    pieces = list(cut(loaded, 0, lines, "eng_Latn", "arb_Arab"))
    assert {piece.line for piece in pieces} == {0, 2, 4}
    assert all(len(piece.tokens) < piece.key[2] <= loaded.limit for piece in pieces)
    read = loaded.tokenizer.batch_decode(
        [piece.tokens for piece in pieces], skip_special_tokens=True
    )
    assert "".join("".join(read).split()) == "".join("".join(lines).split())
    (written,) = translate(translator, model, [sample("".join(lines))], size=8)
    assert written.count("\n") == 3


def test_pieces_lose_nothing_and_fit() -> None:
    texts = [
        "One. Two! Three? " * 20,
        "no end in sight " * 40,
        "x" * 1000,
        "一。二。" * 100,
        "short",
        "a " + "y" * 300 + " b. " + "c " * 90,
    ]
    for text in texts:
        pieces = pieces_of(text.strip(), len, 100)
        assert "".join("".join(pieces).split()) == "".join(text.split())
        assert all(len(piece) < 100 for piece in pieces)
    assert pieces_of("One. Two.", len, 100) == ["One. Two."]
    assert pieces_of("A first one. " * 10, len, 100)[0].endswith("one.")
    longest = max(map(len, pieces_of("One. Two! Three? " * 20, len, 100)))
    assert 50 < longest < PIECE


def test_sentences_and_lines_stay_apart(translator: Translator) -> None:
    first, second = translate(translator, "marian", [sample("hello world"), sample("another one")])
    (both,) = translate(translator, "marian", [sample("hello world\n\n  another one\n")])
    assert both == f"{first}\n\n  {second}\n"
    assert translate(translator, "marian", [sample(" \n ")]) == [" \n "]


def test_progress_and_cancel(translator: Translator) -> None:
    batch = Batch("marian", {"max_tokens": 6, "min_length": 99}, 1, [sample("a"), sample("b")][:1])
    recorder = Recorder()
    translator.predict(batch, recorder)
    assert recorder.steps[-1] == (6, 6, "part 1 of 1")
    stopped = Recorder(most=2)
    assert translator.predict(batch, stopped) == []
    assert len(stopped.steps) == 2


def test_what_is_no_translator_is_named(translator: Translator, tmp_path: Path) -> None:
    checkpoints.git(tmp_path)
    with pytest.raises(ModelNotAvailable, match="git is no translator; known are m2m_100, marian"):
        translator.load(Checkpoint("x", tmp_path, "r"))


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
