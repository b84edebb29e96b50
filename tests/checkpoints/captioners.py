"""Captioners with random weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    GitConfig,
    GitForCausalLM,
    GPT2Config,
    GPT2Tokenizer,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

from tests.checkpoints import chat
from tests.checkpoints.parts import LETTERS, bert_tokenizer, save

FULL_BLIP_LARGE: dict[str, Any] = {
    "pixels": 384,
    "patch": 16,
    "vision": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    | {"intermediate_size": 4096},
    "text": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    | {"intermediate_size": 3072, "vocab_size": 30524, "encoder_hidden_size": 1024},
}


def blip(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """BLIP: a vision tower, and BERT with cross-attention."""
    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"intermediate_size": 64}
    pixels = sizes.get("pixels", 32)
    vision = {**small, **sizes.get("vision", {}), "image_size": pixels}
    text = {**small, "vocab_size": 64, "encoder_hidden_size": vision["hidden_size"]}
    text |= sizes.get("text", {})
    text |= {"bos_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    text |= {"eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = BlipConfig(
        vision_config={**vision, "patch_size": sizes.get("patch", 8)}, text_config=text
    )
    with torch.device(device):
        model = BlipForConditionalGeneration(config)
    processor = BlipImageProcessorPil(size={"height": pixels, "width": pixels})
    save(folder, device, model, tokenizer, processor)
    return folder


def vit_gpt2(folder: Path) -> Path:
    """A ViT with a GPT-2 that has cross-attention; settings missing or old, as published."""
    torch.manual_seed(0)
    letters = [*LETTERS, "Ġ", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(letters)}
    vision = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=32, patch_size=8,
    )  # fmt: skip
    end = vocab["<|endoftext|>"]
    text = GPT2Config(
        vocab_size=len(vocab), n_embd=32, n_layer=2, n_head=4, n_positions=64, is_decoder=True,
        add_cross_attention=True, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    model = VisionEncoderDecoderModel(
        VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    )
    model.config.decoder_start_token_id = end
    save(folder, "cpu", model, GPT2Tokenizer(vocab=vocab, merges=[]))
    (folder / "generation_config.json").unlink(missing_ok=True)
    settings = {"do_normalize": True, "do_resize": True, "resample": 2, "size": 32}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    settings |= {"feature_extractor_type": "ViTFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def git(folder: Path) -> Path:
    """GIT: a CLIP vision tower whose patches are the first tokens of a BERT decoder."""
    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = GitConfig(
        vision_config={**small, "intermediate_size": 64, "image_size": 32, "patch_size": 8},
        **small,
        intermediate_size=64,
        vocab_size=64,
        max_position_embeddings=64,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    save(folder, "cpu", GitForCausalLM(config), tokenizer, processor)
    return folder


BUILDERS: Mapping[str, Callable[[Path], Path]] = {
    "blip": blip,
    "vit-gpt2": vit_gpt2,
    "git": git,
    **chat.BUILDERS,
}
