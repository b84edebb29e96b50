"""Vqa: picture and question → answer, with BLIP or any chat model that sees pictures.

sample  {"image": RGB PIL.Image, "question": str}
params  max_tokens, bad_words, and whatever `generate` takes (num_beams, max_length, …)
result  {"text": str}, the answer
"""

from typing import Any

import torch
from PIL import Image
from transformers import BlipForQuestionAnswering

from shared.errors import ModelNotAvailable, PredictionFailed
from workers.predictor import Checkpoint
from workers.vision.chat import is_chat, open_chat
from workers.vision.florence import open_florence
from workers.vision.text import Inputs, Reader, VisionText, parts
from workers.vision.told import QUESTION

INSTRUCTION = "{question} Answer in a few words."  # to a chat model


class BlipAnswerer(Reader):
    """BLIP for questions: a text encoder that sees the picture, and a decoder for the answer.

    https://arxiv.org/abs/2201.12086, section 5.3.
    """

    starts = "decoder_input_ids"

    def encode(self, image: Image.Image, text: str | None) -> Inputs:
        question = list(self.tokenizer(text).input_ids)
        most = self.model.config.text_config.max_position_embeddings
        if len(question) > most:
            raise PredictionFailed(
                f"the question has {len(question)} tokens and the model takes {most}"
            )
        return {"pixel_values": self.pixels(image), "input_ids": torch.tensor([question])}


class Vqa(VisionText):
    """Answers to questions about a picture.

    `settings.instruction`, with `{question}` in it, is what a chat model is told, or a Florence-2
    that was trained to answer questions; the published Florence-2 were not.
    """

    text = "question"

    def open(self, checkpoint: Checkpoint, config: Any) -> Reader:
        instruction = checkpoint.settings.get("instruction")
        if instruction and QUESTION not in instruction:
            raise ModelNotAvailable(f"{checkpoint.model}: the instruction holds no {QUESTION}")
        if config.model_type == "blip":
            if BlipForQuestionAnswering.__name__ in (config.architectures or []):
                return BlipAnswerer(*parts(checkpoint, BlipForQuestionAnswering, self.device))
        elif config.model_type == "florence2":
            if instruction:
                return open_florence(checkpoint, config, self.device, instruction)
        elif is_chat(config):
            return open_chat(checkpoint, config, self.device, instruction or INSTRUCTION)
        raise ModelNotAvailable(
            f"{checkpoint.model}: {config.model_type} answers no questions; known are blip for "
            "questions, chat models that see pictures, and florence2 with an instruction"
        )


PREDICTOR = Vqa
