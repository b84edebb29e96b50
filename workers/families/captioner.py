"""Captioner: picture → text, with BLIP, GIT, a vision encoder with a text decoder (ViT-GPT2),
Florence-2, or any chat model that sees pictures.

sample  {"image": RGB PIL.Image, "prompt": str | None}; the caption begins with the prompt
params  max_tokens, bad_words (a list of words or phrases that no word of the caption may begin
        like: the first token of each is never written), and whatever `generate` takes (num_beams,
        max_length, early_stopping, no_repeat_ngram_size, length_penalty, repetition_penalty, …);
        max_tokens goes before max_length
result  {"text": str}
"""

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from transformers import (
    BlipForConditionalGeneration,
    GitForCausalLM,
    VisionEncoderDecoderModel,
)

from shared.errors import ModelNotAvailable
from workers.predictor import Checkpoint
from workers.vision.chat import is_chat, open_chat
from workers.vision.florence import open_florence
from workers.vision.text import Inputs, Reader, VisionText, parts

INSTRUCTION = "Describe the picture in one sentence."  # to a chat model
TASK = "<CAPTION>"  # of Florence-2, in whose training it meant one sentence


class Captioning(Reader):
    """A model that does nothing but caption; the prompt is what its decoder is begun with."""

    def encode(self, image: Image.Image, text: str | None) -> Inputs:
        start = self.start(self.ids(text)) if text else None
        return {"pixel_values": self.pixels(image)} | (
            {self.starts: torch.tensor([start])} if start else {}
        )

    def start(self, prompt: list[int]) -> list[int]:
        """The first tokens of the caption."""
        return [self.tokenizer.cls_token_id, *prompt]


class Git(Captioning):
    """https://arxiv.org/abs/2205.14100."""


class Blip(Captioning):
    """https://arxiv.org/abs/2201.12086."""

    def start(self, prompt: list[int]) -> list[int]:
        # It puts its own first token in place of this one, and drops the last one.
        return [self.tokenizer.cls_token_id, *prompt, self.tokenizer.sep_token_id]


class EncoderDecoder(Captioning):
    """Any vision encoder with any text decoder, such as ViT with GPT-2."""

    starts = "decoder_input_ids"

    def start(self, prompt: list[int]) -> list[int]:
        return [self.model.generation_config.decoder_start_token_id, *prompt]


MODELS: Mapping[str, tuple[type[Any], type[Captioning]]] = {
    "blip": (BlipForConditionalGeneration, Blip),
    "git": (GitForCausalLM, Git),
    "vision-encoder-decoder": (VisionEncoderDecoderModel, EncoderDecoder),
}


class Captioner(VisionText):
    """Captions. `settings.instruction` is what Florence-2 or a chat model is told to do."""

    text = "prompt"

    def open(self, checkpoint: Checkpoint, config: Any) -> Reader:
        instruction = checkpoint.settings.get("instruction")
        if config.model_type in MODELS:
            kind, reader = MODELS[config.model_type]
            if kind.__name__ not in (config.architectures or [kind.__name__]):
                raise ModelNotAvailable(
                    f"{checkpoint.model}: {config.architectures[0]} is no captioner"
                )
            model, tokenizer, pictures = parts(checkpoint, kind, self.device)
            if reader is EncoderDecoder:
                complete(model, tokenizer)
            return reader(model, tokenizer, pictures)
        if config.model_type == "florence2":
            return open_florence(checkpoint, config, self.device, instruction or TASK)
        if is_chat(config):
            return open_chat(checkpoint, config, self.device, instruction or INSTRUCTION)
        raise ModelNotAvailable(
            f"{checkpoint.model}: {config.model_type} is no captioner; known are "
            f"{', '.join(MODELS)}, florence2 and chat models that see pictures"
        )


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
