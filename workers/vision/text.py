"""Models that look at a picture and write text: what captioners and question answerers share.

A `Reader` is one checkpoint in memory; `VisionText` runs batches of any of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.utils import logging

from shared.errors import PredictionFailed
from workers import weights
from workers.dtypes import dtype_of
from workers.generation import StopWhenCanceled
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Reader(ABC):
    """A checkpoint that writes text about a picture."""

    model: Any
    tokenizer: Any
    pictures: Any  # the image processor

    starts: ClassVar[str] = "input_ids"  # the input that holds the first tokens of the text
    most_tokens: ClassVar[int] = 20  # of a text, where neither request nor checkpoint says

    @abstractmethod
    def encode(self, image: Image.Image, text: str | None) -> Inputs:
        """The arguments of `generate` for one sample; those of several are joined along dim 0."""

    def decode(self, tokens: torch.Tensor, given: int, text: str | None) -> str:
        """The result; the first `given` of the `tokens` (length) were not written but encoded."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def most(self) -> int:
        """Tokens of a text where the request says nothing, as published; the first one is given."""
        return (self.model.generation_config.max_length or self.most_tokens + 1) - 1

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """A picture → tensor (1, 3, height, width), scaled and normalised as in training."""
        pixels: torch.Tensor = self.pictures([image], return_tensors="pt").pixel_values
        return pixels

    def ids(self, text: str) -> list[int]:
        """The tokens of a text alone."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


def options(reader: Reader, params: Mapping[str, Any], given: int) -> dict[str, Any]:
    """The arguments of `generate`: `params`, and a limit that does not count the `given` tokens.

    Always greedy or beam search: what is drawn by lot would depend on the batch. Raises
    PredictionFailed where the given tokens leave no room for one more.
    """
    text = reader.model.config.get_text_config(decoder=True)
    positions = getattr(text, "max_position_embeddings", None) or 10**6
    if given >= positions:
        raise PredictionFailed(f"{given} tokens are given and {positions} is all the model takes")
    chosen = {**params, "do_sample": False}
    words = chosen.pop("bad_words", ())
    if words:
        chosen["bad_words_ids"] = [
            [token] for word in words for token in first_tokens(reader, word)
        ]
    asked, published = chosen.pop("max_tokens", None), chosen.pop("max_length", None)
    most = asked or (published - 1 if published else reader.most())
    return {**chosen, "max_new_tokens": max(1, min(most, positions - given))}


def first_tokens(reader: Reader, word: str) -> set[int]:
    """The tokens that a word or phrase may begin with, at a text's start and within it.

    A byte-pair vocabulary has two, with and without the space before; a space alone is none.
    """
    found = set()
    for text in (word, f" {word}"):
        tokens = reader.ids(text)
        found |= set([each for each in tokens if reader.tokenizer.decode([each]).strip()][:1])
    return found


class VisionText(Predictor):
    """Runs readers in fp32 on a CPU and fp16 on a GPU, unless the registry names a dtype."""

    text: ClassVar[str]  # the name of the text in a sample

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._models: dict[str, Reader] = {}
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    @abstractmethod
    def open(self, checkpoint: Checkpoint, config: Any) -> Reader:
        """The reader for a checkpoint, on the CPU. Raises ModelNotAvailable."""

    def load(self, checkpoint: Checkpoint) -> None:
        weights.check(checkpoint.path)
        config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=False)
        reader = self.open(checkpoint, config)
        reader.model.to(self.device).eval()
        self._models[checkpoint.model] = reader

    def unload(self, model: str) -> None:
        self._models.pop(model, None)

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        reader = self._models[batch.model]
        texts = [sample.get(self.text) for sample in batch.samples]
        encoded = [
            reader.encode(sample["image"], text)
            for sample, text in zip(batch.samples, texts, strict=True)
        ]
        # Padding to a common length would change shapes, and with them a text's last digits:
        # one call for each shape of inputs.
        parts = replace(batch, samples=encoded).split(shapes)
        results: dict[int, str] = {}
        for number, (places, part) in enumerate(parts):

            def report(done: int, total: int, number: int = number) -> bool:
                return monitor.step(number * total + done, len(parts) * total, f"token {done}")

            written = self._write(reader, part, report)
            if written is None:
                return []
            given = length(part.samples[0], reader.starts)
            for place, tokens in zip(places, written, strict=False):
                results[place] = reader.decode(tokens, given, texts[place])
        return [{"text": results[place]} for place in range(len(texts))]

    @torch.inference_mode()
    def _write(
        self, reader: Reader, part: Batch, report: Callable[[int, int], bool]
    ) -> torch.Tensor | None:
        """Tokens (size, length) for inputs of one and the same shape; None when canceled."""
        samples = part.padded
        chosen = options(reader, part.params, length(samples[0], reader.starts))
        inputs = {
            name: moved(torch.cat([each[name] for each in samples]), reader.model)
            for name in samples[0]
        }
        stop = StopWhenCanceled(report, chosen["max_new_tokens"])
        tokens: torch.Tensor = reader.model.generate(**inputs, **chosen, stopping_criteria=[stop])
        return None if stop.canceled else tokens.cpu()


def shapes(inputs: Inputs) -> tuple[Any, ...]:
    """What the inputs of two samples must agree on to share a call."""
    return tuple((name, tuple(value.shape)) for name, value in sorted(inputs.items()))


def length(inputs: Inputs, name: str) -> int:
    """Tokens before the first one that is written; without any the model puts its own."""
    return inputs[name].shape[1] if name in inputs else 1


def moved(values: torch.Tensor, model: Any) -> torch.Tensor:
    """Inputs on the model's device; pixels in its precision."""
    return values.to(model.device, model.dtype if values.is_floating_point() else None)


def parts(checkpoint: Checkpoint, kind: type[Any], device: str) -> tuple[Any, Any, Any]:
    """Model (of the class `kind`, on the CPU), tokenizer and image processor of a checkpoint."""
    path = checkpoint.path
    dtype = dtype_of(checkpoint, device)
    model = kind.from_pretrained(path, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    pictures = AutoImageProcessor.from_pretrained(path, backend="pil", trust_remote_code=False)
    return model, tokenizer, pictures
