"""Captioner: picture → text, with BLIP, GIT, or a vision encoder with a text decoder (ViT-GPT2).

sample  {"image": RGB PIL.Image, "prompt": str | None}; the caption begins with the prompt
params  max_tokens, and whatever `generate` takes (num_beams, max_length, …)
result  {"text": str}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    BlipForConditionalGeneration,
    GitForCausalLM,
    VisionEncoderDecoderModel,
)
from transformers.utils import logging

from shared.errors import ModelNotAvailable, PredictionFailed
from workers.generation import StopWhenCanceled
from workers.predictor import Batch, Checkpoint, Predictor, StepMonitor

MODELS: Mapping[str, type[Any]] = {
    "blip": BlipForConditionalGeneration,
    "git": GitForCausalLM,
    "vision-encoder-decoder": VisionEncoderDecoderModel,
}
MOST_TOKENS = 20  # of a caption, where neither the request nor the checkpoint says


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory."""

    kind: str  # of MODELS
    model: Any
    processor: Any
    tokenizer: Any

    def prompt(self, text: str | None) -> dict[str, list[int]]:
        """The argument of `generate` that holds the caption's first tokens."""
        if not text:
            return {}
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids
        if self.kind == "vision-encoder-decoder":
            return {
                "decoder_input_ids": [self.model.generation_config.decoder_start_token_id, *tokens]
            }
        if self.kind == "blip":  # which puts its own first token and drops the last one
            return {
                "input_ids": [self.tokenizer.cls_token_id, *tokens, self.tokenizer.sep_token_id]
            }
        return {"input_ids": [self.tokenizer.cls_token_id, *tokens]}


class Captioner(Predictor):
    """Captions in fp32 on a CPU and fp16 on a GPU."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._dtype = torch.float16 if device.startswith("cuda") else torch.float32
        self._models: dict[str, Loaded] = {}
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def load(self, checkpoint: Checkpoint) -> None:
        if not (checkpoint.path / "config.json").is_file():
            raise ModelNotAvailable(f"{checkpoint.path} holds no checkpoint: no config.json")
        kind = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=False).model_type
        if kind not in MODELS:
            raise ModelNotAvailable(
                f"{checkpoint.model}: {kind} is no captioner; known are {', '.join(MODELS)}"
            )
        model = MODELS[kind].from_pretrained(
            checkpoint.path, dtype=self._dtype, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, trust_remote_code=False)
        processor = AutoImageProcessor.from_pretrained(
            checkpoint.path, backend="pil", trust_remote_code=False
        )
        if kind == "vision-encoder-decoder":
            complete(model, tokenizer)
        self._models[checkpoint.model] = Loaded(
            kind, model.to(self.device).eval(), processor, tokenizer
        )

    def predict(self, batch: Batch, monitor: StepMonitor) -> list[dict[str, Any]]:
        # Prompts of different length would need padding, which changes shapes: one call each.
        parts = batch.split(lambda sample: sample.get("prompt"))
        texts: dict[int, str] = {}
        for number, (places, part) in enumerate(parts):

            def report(done: int, total: int, number: int = number) -> bool:
                return monitor.step(number * total + done, len(parts) * total, f"token {done}")

            captions = self._caption(part, report)
            if captions is None:
                return []
            texts |= dict(zip(places, captions, strict=True))
        return [{"text": texts[place]} for place in range(len(batch.samples))]

    @torch.inference_mode()
    def _caption(self, batch: Batch, report: Callable[[int, int], bool]) -> list[str] | None:
        """Captions for samples with one and the same prompt; None when canceled."""
        loaded = self._models[batch.model]
        samples = batch.padded
        pictures = loaded.processor([each["image"] for each in samples], return_tensors="pt")
        pixels = pictures.pixel_values.to(self.device, self._dtype)  # (size, 3, height, width)
        prompt = loaded.prompt(samples[0].get("prompt"))
        inputs = {
            name: torch.tensor([ids] * batch.size, device=self.device)
            for name, ids in prompt.items()
        }
        options = generate_options(batch.params, loaded.model, *prompt.values())
        stop = StopWhenCanceled(report, options["max_new_tokens"])
        tokens = loaded.model.generate(
            pixel_values=pixels, **inputs, **options, stopping_criteria=[stop]
        )
        if stop.canceled:
            return None
        texts = loaded.tokenizer.batch_decode(
            tokens[: len(batch.samples)], skip_special_tokens=True
        )
        return [text.strip() for text in texts]


def generate_options(
    params: Mapping[str, Any], model: Any, prompt: Sequence[int] = ()
) -> dict[str, Any]:
    """The arguments of `generate`; a limit on the caption's length does not count the prompt.

    Raises PredictionFailed where the prompt leaves no room for a caption.
    """
    given = max(1, len(prompt))  # tokens before the first one of the caption
    text = model.config.get_text_config(decoder=True)
    room = (getattr(text, "max_position_embeddings", None) or 10**6) - given
    if room < 1:
        raise PredictionFailed(f"the prompt is longer than the {room + given} tokens of the model")
    options = {name: value for name, value in params.items() if name != "max_tokens"}
    published = options.pop("max_length", None) or model.generation_config.max_length or MOST_TOKENS
    options["max_new_tokens"] = min(room, params.get("max_tokens") or published - 1)
    return options


def complete(model: Any, tokenizer: Any) -> None:
    """Fill in the generation settings that published encoder-decoder checkpoints leave out."""
    settings, config = model.generation_config, model.config
    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos
    for name, fallback in (
        ("decoder_start_token_id", bos),
        ("eos_token_id", eos),
        ("pad_token_id", pad),
    ):
        if getattr(settings, name) is None:
            known = getattr(config, name, None)
            setattr(settings, name, fallback if known is None else known)


PREDICTOR = Captioner
