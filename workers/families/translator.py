"""Translator: text → text in another language, with NLLB, M2M100 or Marian.

sample  {"text": str, "source": FLORES-200 code, "target": FLORES-200 code}
params  max_tokens (of a piece), and whatever `generate` takes (num_beams, …)
result  {"text": str}

A text of any length is cut into pieces that the model takes whole, and put together again.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    M2M100ForConditionalGeneration,
    MarianMTModel,
)
from transformers.utils import logging

from shared.errors import ModelNotAvailable, PredictionFailed
from shared.languages import names
from workers.generation import StopWhenCanceled
from workers.pieces import pieces_of
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor

MODELS: Mapping[str, type[Any]] = {
    "m2m_100": M2M100ForConditionalGeneration,
    "marian": MarianMTModel,
}
BUCKETS = (32, 64, 128, 256, 512)  # tokens; a piece is padded to the next one above its length
UNSPACED = {"Jpan", "Hans", "Hant", "Thai", "Khmr", "Laoo", "Mymr", "Tibt"}


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory."""

    name: str
    model: Any
    tokenizer: Any
    limit: int  # tokens that the encoder takes
    marks: frozenset[str]  # `>>ara<<` and the like, of a Marian model with several targets

    def encode(self, text: str, source: str, target: str) -> list[int]:
        """Tokens with the marks of source and target language."""
        if self.model.config.model_type == "marian":
            return list(self.tokenizer(self._marian_mark(target) + text).input_ids)
        self.tokenizer.src_lang = self._language(source)
        return list(self.tokenizer(text).input_ids)

    def options(self, target: str) -> dict[str, Any]:
        """What `generate` must be told of the target language."""
        if self.model.config.model_type == "marian":
            return {}
        self._language(target)
        return {"forced_bos_token_id": self._language_token(target)}

    def _marian_mark(self, target: str) -> str:
        """`>>xxx<< ` where the model writes several languages."""
        for name in names(target):
            if f">>{name}<<" in self.marks:
                return f">>{name}<< "
        if self.marks:
            raise PredictionFailed(f"{self.name} does not write {target}")
        return ""

    def _language(self, flores: str) -> str:
        """The name that the tokenizer has for a language."""
        self._language_token(flores)
        codes = getattr(self.tokenizer, "lang_code_to_token", None) or {}
        return next((name for name in names(flores) if name in codes), flores)

    def _language_token(self, flores: str) -> int:
        for token in (flores, *(f"__{name}__" for name in names(flores))):
            number = self.tokenizer.convert_tokens_to_ids(token)
            if number is not None and number != self.tokenizer.unk_token_id:
                return int(number)
        raise PredictionFailed(f"{self.name} does not know the language {flores}")


@dataclass(frozen=True)
class Piece:
    """A part of one sample's text; `line` and `place` say where it belongs."""

    sample: int
    line: int
    tokens: Sequence[int]
    key: tuple[str, str, int]  # target, source, bucket: what a call must agree on


class Translator(Predictor):
    """Translates in fp32 on a CPU and fp16 on a GPU."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._dtype = torch.float16 if device.startswith("cuda") else torch.float32
        self._models: dict[str, Loaded] = {}
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def load(self, checkpoint: Checkpoint) -> None:
        if not (checkpoint.path / "config.json").is_file():
            raise ModelNotAvailable(f"{checkpoint.path} holds no checkpoint: no config.json")
        config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=False)
        if config.model_type not in MODELS:
            raise ModelNotAvailable(
                f"{checkpoint.model}: {config.model_type} is no translator; "
                f"known are {', '.join(MODELS)}"
            )
        model = MODELS[config.model_type].from_pretrained(
            checkpoint.path, dtype=self._dtype, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, trust_remote_code=False)
        limit = min(BUCKETS[-1], config.max_position_embeddings, tokenizer.model_max_length)
        marks = frozenset(token for token in tokenizer.get_vocab() if token.startswith(">>"))
        self._models[checkpoint.model] = Loaded(
            checkpoint.model, model.to(self.device).eval(), tokenizer, limit, marks
        )

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        loaded = self._models[batch.model]
        texts = [re.split(r"(\s*\n\s*)", sample["text"]) for sample in batch.samples]
        pieces = [
            piece
            for number, (sample, lines) in enumerate(zip(batch.samples, texts, strict=True))
            for piece in cut(loaded, number, lines, sample["source"], sample["target"])
        ]
        calls = list(groups(pieces, batch.size))
        written: dict[tuple[int, int], list[str]] = {}
        for number, call in enumerate(calls):

            def report(done: int, total: int, number: int = number) -> bool:
                message = f"part {number + 1} of {len(calls)}"
                return monitor.step(number * total + done, len(calls) * total, message)

            answers = self._translate(loaded, call, batch, report)
            if answers is None:
                return []
            for piece, answer in zip(call, answers, strict=True):
                written.setdefault((piece.sample, piece.line), []).append(answer)
        return [
            {"text": join(sample["target"], number, lines, written)}
            for number, (sample, lines) in enumerate(zip(batch.samples, texts, strict=True))
        ]

    @torch.inference_mode()
    def _translate(
        self,
        loaded: Loaded,
        call: Sequence[Piece],
        batch: Batch,
        report: Callable[[int, int], bool],
    ) -> list[str] | None:
        """The pieces of one call, translated; None when canceled."""
        target, _, bucket = call[0].key
        padded = [*call, *[call[-1]] * (batch.size - len(call))]
        pad = loaded.tokenizer.pad_token_id
        tokens = torch.tensor(
            [[*each.tokens, *[pad] * (bucket - len(each.tokens))] for each in padded],
            device=self.device,
        )  # (size, bucket)
        mask = torch.tensor(
            [[1] * len(each.tokens) + [0] * (bucket - len(each.tokens)) for each in padded],
            device=self.device,
        )
        options = dict(batch.params)
        # Twice the input is more than any translation takes: the rest is a model gone astray.
        positions = loaded.model.config.max_position_embeddings
        most = options.pop("max_tokens", None) or min(2 * bucket + 16, positions - 2)
        stop = StopWhenCanceled(report, most)
        written = loaded.model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=most,
            stopping_criteria=[stop],
            **loaded.options(target),
            **options,
        )
        if stop.canceled:
            return None
        texts = loaded.tokenizer.batch_decode(written[: len(call)], skip_special_tokens=True)
        return [text.strip() for text in texts]


def cut(
    loaded: Loaded, sample: int, lines: Sequence[str], source: str, target: str
) -> Iterator[Piece]:
    """The pieces of a text given as lines, every second one being the gap between two."""

    def encode(text: str) -> list[int]:
        return loaded.encode(text, source, target)

    for number, line in enumerate(lines):
        if number % 2 or not line.strip():
            continue
        for text in pieces_of(line.strip(), lambda text: len(encode(text)), loaded.limit):
            tokens = encode(text)
            # At least one place stays empty. Were all full, the library would drop the mask and
            # take another kernel: a neighbour's length would change this piece's result.
            bucket = min([each for each in BUCKETS if each > len(tokens)] + [loaded.limit])
            yield Piece(sample, number, tokens, (target, source, bucket))


def groups(pieces: Sequence[Piece], size: int) -> Iterator[Sequence[Piece]]:
    """Calls of at most `size` pieces that agree on languages and bucket, in order of need."""
    by_key: dict[tuple[str, str, int], list[Piece]] = {}
    for piece in pieces:
        by_key.setdefault(piece.key, []).append(piece)
    for group in by_key.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def join(
    target: str,
    sample: int,
    lines: Sequence[str],
    written: Mapping[tuple[int, int], Sequence[str]],
) -> str:
    """A sample's text from its pieces, the gaps between its lines as they were."""
    space = "" if target.partition("_")[2] in UNSPACED else " "
    return "".join(
        space.join(written.get((sample, number), [line])) for number, line in enumerate(lines)
    )


PREDICTOR = Translator
