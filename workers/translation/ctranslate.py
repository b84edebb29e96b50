"""Running a translation model by CTranslate2: int8 and float16 kernels, fast on a CPU.

A model is converted once, by `ct2-transformers-converter --model FOLDER --output_dir
FOLDER/ctranslate2 --quantization int8`; its tokenizer stays that of the checkpoint.
https://opennmt.net/CTranslate2
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import ModelNotAvailable, PredictionFailed
from workers.translation.decoding import Call, Report

CTRANSLATE2 = "ctranslate2"  # the package, the folder and the setting
# What `generate` calls its parameters → what they are called here.
OPTIONS = {
    "num_beams": "beam_size",
    "length_penalty": "length_penalty",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "min_new_tokens": "min_decoding_length",
}


def converted(folder: Path) -> Path | None:
    """Where in a checkpoint the converted model is: in `ctranslate2/`, or the folder itself."""
    return next((each for each in (folder / CTRANSLATE2, folder) if _holds_model(each)), None)


def _holds_model(folder: Path) -> bool:
    vocabulary = any(folder.glob("*vocabulary.*"))
    return vocabulary and (folder / "model.bin").is_file()


def installed() -> bool:
    return importlib.util.find_spec(CTRANSLATE2) is not None


class CTranslateEngine:
    """A converted model; `causal`: a chat model.

    Every text is computed by itself: within a batch this library pads to the longest text and
    drops those that are done, so that another text's length would change the last bits. Texts of
    a call run side by side on a CPU.

    defaults   the checkpoint's generation settings, of which those in OPTIONS are used
    threads    cores that may be used
    precision  CTranslate2's compute_type; `default` keeps what the model was converted to
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        tokenizer: Any,
        causal: bool,
        defaults: Mapping[str, Any],
        threads: int,
        precision: str = "default",
    ) -> None:
        try:
            import ctranslate2
        except ImportError as error:
            raise ModelNotAvailable(
                f"the package {CTRANSLATE2} is not installed: {error}"
            ) from None

        self._tokenizer = tokenizer
        self._causal = causal
        self._defaults = {"num_beams": 1, "min_new_tokens": 0}
        self._defaults |= {
            name: value for name, value in defaults.items() if name in OPTIONS and value is not None
        }
        ends = defaults.get("eos_token_id")
        self._ends = [ends] if isinstance(ends, int) else ends  # a chat has several
        kind, _, number = device.partition(":")
        model = ctranslate2.Generator if causal else ctranslate2.Translator
        try:
            self._model = model(
                str(folder),
                device=kind,
                device_index=int(number or 0),
                compute_type=precision,
                intra_threads=min(4, threads),
                inter_threads=max(1, threads // 4) if kind == "cpu" else 1,
            )
        except (RuntimeError, ValueError) as error:
            raise ModelNotAvailable(f"CTranslate2 cannot load {folder}: {error}") from None

    def run(self, call: Call, report: Report) -> list[list[int]] | None:
        options = self._options(call.params)
        texts = [self._tokenizer.convert_ids_to_tokens(list(text)) for text in call.texts]
        if not report(0, 1):
            return None
        if self._causal:
            written = self._generate(texts, call.most, options)
        else:
            written = self._translate(texts, call, options)
        return written if report(1, 1) else None

    def _options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if name != "max_tokens"}
        for name in given:
            if name not in OPTIONS:
                raise PredictionFailed(f"CTranslate2 knows no parameter {name}")
        return {OPTIONS[name]: value for name, value in {**self._defaults, **given}.items()}

    def _translate(self, texts: list[list[str]], call: Call, options: Any) -> list[list[int]]:
        name = self._tokenizer.convert_ids_to_tokens
        first = None if call.first is None else [[name(call.first)]] * len(texts)
        results = self._model.translate_batch(
            texts,
            first,
            max_batch_size=1,
            max_input_length=0,
            max_decoding_length=call.most,
            **options,
        )
        number = self._tokenizer.convert_tokens_to_ids
        return [list(number(result.hypotheses[0])) for result in results]

    def _generate(self, texts: list[list[str]], most: int, options: Any) -> list[list[int]]:
        options["min_length"] = options.pop("min_decoding_length")
        results = self._model.generate_batch(
            texts,
            max_batch_size=1,
            max_length=most,
            end_token=self._ends,
            include_prompt_in_result=False,
            **options,
        )
        return [list(result.sequences_ids[0]) for result in results]
