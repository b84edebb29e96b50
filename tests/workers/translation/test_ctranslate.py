"""Converted models: CTranslate2 writes what torch writes."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from shared.errors import ModelNotAvailable, PredictionFailed
from shared.model_store import CHECKPOINTS
from tests.checkpoints.translators import llama, nllb, qwen2, t5
from tests.workers.families import Recorder
from workers.families.translator import Translator
from workers.predictor import Batch, Checkpoint
from workers.translation import ctranslate
from workers.translation.ctranslate import CTranslateEngine
from workers.translation.decoding import Call, Engine, Report, TorchEngine

pytest.importorskip("ctranslate2")
from ctranslate2.converters import TransformersConverter

TEXTS = ["a large red circle on a white background", "z", "quite", "a. blue square", "two\n\nlines"]


def shipped(folder: Path) -> Path:
    """The shipped Marian as the published ones are: what stands for the start is all zeros, which
    the converter takes for granted."""
    shutil.copytree(CHECKPOINTS / "tiny" / "translator", folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.shared.weight"][-1] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def convert(checkpoint: Path, to: Path, files: tuple[str, ...] = (), **options: Any) -> None:
    TransformersConverter(str(checkpoint), copy_files=list(files)).convert(str(to), **options)


def samples(texts: list[str]) -> list[dict[str, str]]:
    return [{"text": text, "source": "eng_Latn", "target": "arb_Arab"} for text in texts]


def translate(translator: Translator, model: str, texts: list[str], **params: Any) -> list[str]:
    batch = Batch(model, params, 2, samples(texts))
    return [result["text"] for result in translator.predict(batch, Recorder())]


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """Every model twice, `NAME` by torch and `NAME_converted`."""
    folder = tmp_path_factory.mktemp("converted")
    translator = Translator("cpu")
    for build in (shipped, t5, nllb, qwen2, llama):
        path = build(folder / build.__name__)
        convert(path, path / "ctranslate2")
        settings = {"engine": "torch"}
        translator.load(Checkpoint(build.__name__, path, "r", settings=settings))
        translator.load(Checkpoint(f"{build.__name__}_converted", path, "r"))
    return translator


def test_a_converted_model_is_preferred(translator: Translator) -> None:
    assert isinstance(translator._models["t5"].engine, TorchEngine)
    assert isinstance(translator._models["t5_converted"].engine, CTranslateEngine)


@pytest.mark.parametrize("model", ["shipped", "t5", "qwen2", "llama"])
def test_it_writes_what_torch_writes(translator: Translator, model: str) -> None:
    params = {} if model == "shipped" else {"max_tokens": 12}
    expected = translate(translator, model, TEXTS, **params)
    assert len(set(expected)) >= 3
    assert translate(translator, f"{model}_converted", TEXTS, **params) == expected


class Kept:
    """An engine that keeps the tokens that it wrote."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows: list[list[int]] = []

    def run(self, call: Call, report: Report) -> list[list[int]] | None:
        rows = self.engine.run(call, report)
        self.rows += rows or []
        return rows


def test_the_language_is_told_to_it_too(translator: Translator) -> None:
    # Random weights write languages most of all, which no text shows: the tokens are compared.
    written = []
    for name in ("nllb", "nllb_converted"):
        loaded = translator._models[name]
        kept = Kept(loaded.engine)
        translator._models["kept"] = replace(loaded, engine=kept)
        translate(translator, "kept", TEXTS, max_tokens=8)
        written.append(kept.rows)
    by_torch = [row[1:] for row in written[0]]  # without the start
    arabic = translator._models["nllb"].dialect.first("arb_Arab")
    assert all(row[0] == arabic for row in by_torch)
    assert written[1] == by_torch


def test_company_changes_nothing(translator: Translator) -> None:
    alone = [translate(translator, "t5_converted", [text], max_tokens=12)[0] for text in TEXTS]
    assert translate(translator, "t5_converted", TEXTS, max_tokens=12) == alone
    assert translate(translator, "t5_converted", TEXTS[::-1], max_tokens=12) == alone[::-1]


def test_beams_and_other_parameters(translator: Translator) -> None:
    greedy = translate(translator, "t5_converted", TEXTS, max_tokens=12)
    for params in ({"num_beams": 4}, {"repetition_penalty": 9.0}, {"no_repeat_ngram_size": 1}):
        assert translate(translator, "t5_converted", TEXTS, max_tokens=12, **params) != greedy
    with pytest.raises(PredictionFailed, match="CTranslate2 knows no parameter temperature"):
        translate(translator, "t5_converted", TEXTS, temperature=2.0)


def test_cancel_stops_between_calls(translator: Translator) -> None:
    batch = Batch("t5_converted", {"max_tokens": 4}, 1, samples(TEXTS))
    recorder = Recorder()
    assert len(translator.predict(batch, recorder)) == len(TEXTS)
    assert recorder.steps[-1] == (6, 6, "part 6 of 6")
    stopped = Recorder(most=3)
    assert translator.predict(batch, stopped) == []
    assert len(stopped.steps) == 3


def test_a_converted_model_by_itself(translator: Translator, tmp_path: Path) -> None:
    checkpoint = shipped(tmp_path / "checkpoint")
    files = ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json")
    convert(checkpoint, tmp_path / "own", files, quantization="int8")
    translator.load(Checkpoint("own", tmp_path / "own", "r"))
    texts = TEXTS[:1]
    assert translate(translator, "own", texts) == translate(translator, "shipped", texts)


def test_what_cannot_run_is_refused(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = t5(tmp_path)

    def load(**settings: Any) -> None:
        translator.load(Checkpoint("x", path, "r", settings=settings))

    with pytest.raises(ModelNotAvailable, match="x: no engine onnx; known are torch and ctransl"):
        load(engine="onnx")
    with pytest.raises(ModelNotAvailable, match="ctranslate2 holds no converted model"):
        load(engine="ctranslate2")
    convert(path, path / "ctranslate2")
    with pytest.raises(ModelNotAvailable, match="CTranslate2 cannot load"):
        load(compute_type="int3")
    (path / "ctranslate2" / "model.bin").write_bytes(b"damaged")
    with pytest.raises(ModelNotAvailable, match="CTranslate2 cannot load"):
        load()
    monkeypatch.setattr(ctranslate, "installed", lambda: False)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ModelNotAvailable, match="the package ctranslate2 is not installed"):
        load(engine="ctranslate2")
