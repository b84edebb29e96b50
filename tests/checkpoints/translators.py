"""Translators with random weights."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GemmaTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    NllbTokenizer,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.checkpoints.parts import LETTERS, pieces, save, sentencepiece_model

FULL_NLLB_600M: dict[str, Any] = {
    "vocab_size": 256206,
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "init_std": 0.02,
}


def nllb(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """M2M100 with the NLLB tokenizer: all 202 languages, an alphabet for the rest."""
    torch.manual_seed(0)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, ".", ",", "ا", "ب", "ج", "د"]
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = NllbTokenizer(vocab=vocab, merges=[], model_max_length=1024)
    small: dict[str, Any] = {"vocab_size": len(tokenizer), "d_model": 32}
    small |= {"encoder_layers": 2, "decoder_layers": 2}
    small |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    small |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    small |= {"init_std": 0.3}  # with less, a tiny model writes one token over and over
    config = M2M100Config(**(small | sizes), max_position_embeddings=1024, scale_embedding=True)
    with torch.device(device):
        model = M2M100ForConditionalGeneration(config)
    save(folder, device, model, tokenizer)
    return folder


def marian(folder: Path, targets: Sequence[str] = ()) -> Path:
    """Marian; `targets` such as `>>ara<<` for a model of several target languages."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model = sentencepiece_model()
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model)
    vocab = {name: number for number, name in enumerate([*pieces(model), *targets, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
        model_max_length=128,
    )
    pad = tokenizer.pad_token_id
    config = MarianConfig(
        vocab_size=tokenizer.vocab_size, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=128, pad_token_id=pad, eos_token_id=0,
        decoder_start_token_id=pad, forced_eos_token_id=None, init_std=0.3,
    )  # fmt: skip
    save(folder, "cpu", MarianMTModel(config), tokenizer)
    return folder


def m2m100(folder: Path) -> Path:
    """M2M100 with its own tokenizer: 100 languages by their two letters."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model = sentencepiece_model()
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces(model)[2:]]
    vocab = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = M2M100Tokenizer(
        str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"), model_max_length=1024
    )
    config = M2M100Config(
        vocab_size=len(tokens) + 108, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=1024, init_std=0.3,
    )  # fmt: skip
    save(folder, "cpu", M2M100ForConditionalGeneration(config), tokenizer)
    return folder


def scored(tokens: Sequence[str]) -> list[tuple[str, float]]:
    """A unigram vocabulary: whatever is written is spelt."""
    return [(token, -float(number)) for number, token in enumerate(tokens)]


def t5(folder: Path, marks: Sequence[str] = (), **sizes: Any) -> Path:
    """T5; `marks` such as `<2ar>` for a MADLAD-400."""
    torch.manual_seed(0)
    tokens = ["<pad>", "</s>", "<unk>", *marks, "▁", *LETTERS, *LETTERS.upper(), *":.,<>-"]
    tokenizer = T5Tokenizer(vocab=scored(tokens), extra_ids=2, model_max_length=512)
    small: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    small |= {"vocab_size": len(tokenizer), "initializer_factor": 4.0}
    config = T5Config(**(small | sizes), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    save(folder, "cpu", T5ForConditionalGeneration(config), tokenizer)
    return folder


def mbart(folder: Path) -> Path:
    """mBART-50: 52 languages by their letters and a country's."""
    torch.manual_seed(0)
    vocab = scored(["<unk>", "<s>", "</s>", "▁", *LETTERS, ".", "ا", "ب"])
    tokenizer = MBart50Tokenizer(vocab=vocab, src_lang="en_XX", model_max_length=1024)
    config = MBartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=1024, init_std=0.3, decoder_start_token_id=2,
        bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    save(folder, "cpu", MBartForConditionalGeneration(config), tokenizer)
    return folder


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
TURNS = (
    "<bos>{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>"
    "\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048}


def qwen2(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """Qwen2: a chat model that reads bytes; its settings draw lots, as the published ones."""
    torch.manual_seed(0)
    tokens = [*bytes_to_unicode().values(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[], extra_special_tokens=tokens[-2:])
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = CHATML
    config = Qwen2Config(
        **(SMALL | sizes), vocab_size=len(tokenizer), initializer_range=0.3,
        eos_token_id=vocab["<|im_end|>"], bos_token_id=None, pad_token_id=vocab["<|endoftext|>"],
    )  # fmt: skip
    with torch.device(device):
        model = Qwen2ForCausalLM(config)
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=20, top_p=0.8)
    save(folder, device, model, tokenizer)
    return folder


def llama(folder: Path) -> Path:
    """Llama with the vocabulary and the turns of Gemma, whose template knows no system."""
    torch.manual_seed(0)
    marks = ["<start_of_turn>", "<end_of_turn>"]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *marks, "▁", "\n"]
    tokens += [*LETTERS, *LETTERS.upper(), *".,"]
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = GemmaTokenizer(vocab=vocab, merges=[], extra_special_tokens=marks)
    tokenizer.chat_template = TURNS
    config = LlamaConfig(
        **SMALL, vocab_size=len(tokenizer), initializer_range=0.3, pad_token_id=0,
        bos_token_id=2, eos_token_id=[1, vocab["<end_of_turn>"]],
    )  # fmt: skip
    save(folder, "cpu", LlamaForCausalLM(config), tokenizer)
    return folder


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "nllb": nllb,
    "m2m100": m2m100,
    "marian": marian,
    "marian_multi": partial(marian, targets=(">>ara<<", ">>fra<<")),
    "t5": t5,
    "madlad": partial(t5, marks=("<2ar>", "<2fr>", "<2en>")),
    "mbart": mbart,
    "qwen2": qwen2,
    "llama": llama,
}
