"""Chat models that see pictures: Qwen-VL, SmolVLM, and whatever else transformers has with a
chat template.
"""

from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from shared.errors import ModelNotAvailable
from workers.predictor import Checkpoint
from workers.vision.text import Inputs, Reader, parts
from workers.vision.told import Told, processor_of


class Chat(Told):
    """The instruction is the user's turn; the assistant's begins with the prompt."""

    most_tokens = 64

    def encode(self, image: Image.Image, text: str | None) -> Inputs:
        told = {"type": "text", "text": self.told(text)}
        turns = [{"role": "user", "content": [{"type": "image", "image": image}, told]}]
        if beginning := self.beginning(text):
            turns += [{"role": "assistant", "content": [{"type": "text", "text": beginning}]}]
        inputs: Inputs = self.processor.apply_chat_template(
            turns,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=not beginning,
            continue_final_message=bool(beginning),
        )
        return dict(inputs)

    def decode(self, tokens: torch.Tensor, given: int, text: str | None) -> str:
        # Alone, the first token written would lose the space that sets it off from the prompt.
        before, whole = (
            self.tokenizer.decode(part, skip_special_tokens=True)
            for part in (tokens[:given], tokens)
        )
        return f"{self.beginning(text)}{whole[len(before) :]}".strip()

    def most(self) -> int:
        return self.most_tokens  # the published limit counts the picture and the question


def is_chat(config: Any) -> bool:
    """Whether transformers has a model that takes pictures and text, and writes text."""
    return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def open_chat(checkpoint: Checkpoint, config: Any, device: str, instruction: str) -> Reader:
    """A chat model. Raises ModelNotAvailable where the checkpoint has no chat template."""
    model, tokenizer, pictures = parts(checkpoint, AutoModelForImageTextToText, device)
    processor = processor_of(checkpoint.path, config, tokenizer, pictures)
    if not processor.chat_template:
        raise ModelNotAvailable(
            f"{checkpoint.model}: {config.model_type} cannot be told anything; no chat template"
        )
    return Chat(model, tokenizer, pictures, processor, instruction)
