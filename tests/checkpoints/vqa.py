"""Question answerers with random weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import BlipConfig, BlipForQuestionAnswering, BlipImageProcessorPil

from tests.checkpoints.chat import CHATS
from tests.checkpoints.parts import bert_tokenizer, save


def blip_vqa(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """BLIP for questions: a vision tower, a BERT that reads and a BERT that answers."""
    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"intermediate_size": 64, "initializer_range": 0.3}  # less, and all answers are alike
    pixels = sizes.get("pixels", 32)
    vision = {**small, **sizes.get("vision", {}), "image_size": pixels}
    text = {**small, "vocab_size": 64, "encoder_hidden_size": vision["hidden_size"]}
    text |= {"max_position_embeddings": 64} | sizes.get("text", {})
    text |= {"bos_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    text |= {"eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = BlipConfig(
        vision_config={**vision, "patch_size": sizes.get("patch", 8)}, text_config=text
    )
    with torch.device(device):
        model = BlipForQuestionAnswering(config)
    processor = BlipImageProcessorPil(size={"height": pixels, "width": pixels})
    save(folder, device, model, tokenizer, processor)
    return folder


BUILDERS: Mapping[str, Callable[[Path], Path]] = {"blip-vqa": blip_vqa, **CHATS}
