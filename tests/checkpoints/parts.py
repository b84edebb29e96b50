"""What several checkpoints are made of: tokenizers, and how a part is written."""

import io
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import BertTokenizer, CLIPTokenizer
from transformers.utils import logging

logging.disable_progress_bar()

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def save(folder: Path, device: str, *parts: Any) -> None:
    """Write models, tokenizers and processors; models in half precision where built on a GPU."""
    for part in parts:
        if isinstance(part, torch.nn.Module) and device != "cpu":
            part = part.half()
        part.save_pretrained(folder)


def bert_tokenizer() -> BertTokenizer:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
    return BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


def clip_tokenizer() -> CLIPTokenizer:
    tokens = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def sentencepiece_model() -> bytes:
    """A sentencepiece model with a piece for every letter."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS), LETTERS, "the quick brown fox."]),
        model_writer=written,
        model_type="char",
        character_coverage=1.0,
        vocab_size=64,
        hard_vocab_limit=False,
        bos_id=-1,
        pad_id=-1,
        eos_id=0,
        unk_id=1,
        minloglevel=2,
    )
    return written.getvalue()


def pieces(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
