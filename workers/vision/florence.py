"""Florence-2: picture and task → text. https://arxiv.org/abs/2311.06242"""

from typing import Any

import torch
from PIL import Image
from transformers import Florence2ForConditionalGeneration

from shared.errors import PredictionFailed
from workers.predictor import Checkpoint
from workers.vision.text import Inputs, Reader, parts
from workers.vision.told import Told, processor_of


class Florence(Told):
    """The instruction is a task of its training, such as `<DETAILED_CAPTION>`.

    Which words it has in the model's input is the processor's knowledge. The decoder is begun
    with the prompt.
    """

    starts = "decoder_input_ids"
    most_tokens = 128

    def encode(self, image: Image.Image, text: str | None) -> Inputs:
        inputs = dict(self.processor(images=image, text=self.told(text), return_tensors="pt"))
        given, most = inputs["input_ids"].shape[1], self._text.max_position_embeddings
        if given > most:
            raise PredictionFailed(
                f"picture and question have {given} tokens and the model takes {most}"
            )
        if beginning := self.beginning(text):
            start = [self._text.decoder_start_token_id, self._text.bos_token_id]
            inputs[self.starts] = torch.tensor([[*start, *self.ids(beginning)]])
        return inputs

    def most(self) -> int:
        return self.most_tokens  # the published limit is that of all tasks

    @property
    def _text(self) -> Any:
        return self.model.config.text_config


def open_florence(checkpoint: Checkpoint, config: Any, device: str, instruction: str) -> Reader:
    model, tokenizer, pictures = parts(checkpoint, Florence2ForConditionalGeneration, device)
    processor = processor_of(checkpoint.path, config, tokenizer, pictures)
    return Florence(model, tokenizer, pictures, processor, instruction)
