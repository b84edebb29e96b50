"""The diffuser's text side: its tokenizer, its prompts and the first training of its encoder.

The encoder alone is first taught to write every attribute of the scene into every position from
the end of the prompt on. This takes a minute, and the denoiser then need not learn where in a
sentence a colour stands, which is what costs most of the time when both start from nothing.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from workers.training.tiny.loop import train, weights
from workers.training.world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZES,
    all_scenes,
    caption,
    random_words,
)

LENGTH = 32
"""Tokens of a prompt, both ends included; more are cut off."""

WIDTH = 128
STEPS = 600
BATCH = 128
RATE = 1e-3

_BEFORE = ("a photo of", "a picture of", "a painting of", "a watercolour of", "a drawing of")
_AFTER = ("in the style of a poster", "very detailed", "with soft light", "high quality", "flat")
_CLASSES = (SHAPES, COLOURS, SIZES, BACKGROUNDS)


def tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer with one token for each word of the world and bytes for all others."""
    words = sorted({word for scene in all_scenes() for word in caption(scene).split()})
    words += sorted({word for text in _BEFORE + _AFTER for word in text.split()} - set(words))
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=4096, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    # Falling frequencies leave no tie between words, so the merges are the same every time.
    corpus = [word for rank, word in enumerate(words) for _ in range(len(words) - rank + 1)]
    learner.train_from_iterator(corpus, trainer)
    merges: Any = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = alphabet + [letter + "</w>" for letter in alphabet]
    pieces += [first + second for first, second in merges]
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)


def build(words: CLIPTokenizer) -> CLIPTextModel:
    """The untrained text encoder: 2 layers of 128."""
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=WIDTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModel(config)


def prompt(words: tuple[str, str, str, str], rng: np.random.Generator, whole: bool = False) -> str:
    """A prompt for (shape, colour, size, background): the caption, or a short or decorated one.

    whole: leave no attribute out.
    """
    shape, colour, size, background = words
    kind = 0.0 if whole else rng.random()
    if kind < 0.7:
        text = f"a {size} {colour} {shape} on a {background} background"
    elif kind < 0.85:
        text = f"a {colour} {shape}"
    else:
        keep = rng.random(4) < 0.6
        named = [word for word, kept in zip((size, colour, shape), keep, strict=False) if kept]
        text = " ".join(["a", *named]) if named else ""
        text += f" on a {background} background" if keep[3] else ""
    if text and rng.random() < 0.1:
        text = f"{_BEFORE[rng.integers(len(_BEFORE))]} {text}"
    if text and rng.random() < 0.1:
        text = f"{text}, {_AFTER[rng.integers(len(_AFTER))]}"
    return text[2:] if text.startswith("a ") and rng.random() < 0.1 else text


def tokens(words: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token numbers, (n, LENGTH), padded and cut as the pipelines do."""
    batch = words(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    numbers: torch.Tensor = batch.input_ids
    return numbers


class Reader(nn.Module):
    """The text encoder with a classifier of each attribute behind it, for the first training."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(nn.Linear(WIDTH, len(names) + 1) for names in _CLASSES)


def fit(folder: Path, seed: int, device: str, steps: int = STEPS) -> None:
    """Teach the encoder to name the attributes; the class after the last is 'not said'."""
    torch.manual_seed(seed)
    words = tokenizer()
    reader = Reader(build(words)).to(device)

    def step(number: int) -> torch.Tensor:
        rng = np.random.default_rng([seed, 4, number])
        texts, labels = [], []
        for _ in range(BATCH):
            shape, colour, background = random_words(rng)
            text = prompt((shape, colour, SIZES[rng.integers(2)], background), rng)
            texts.append(text)
            labels.append(_labels(text))
        numbers = tokens(words, texts)
        ended = numbers.eq(words.eos_token_id).to(device)
        hidden = reader.encoder(numbers.to(device)).last_hidden_state[ended]
        truth = torch.tensor(labels)
        losses = []
        for column, head in enumerate(reader.heads):
            target = truth[:, column, None].to(device).expand(ended.shape)[ended]
            losses.append(nn.functional.cross_entropy(head(hidden), target))
        return torch.stack(losses).sum()

    train("text_encoder", reader, step, steps=steps, peak=RATE, folder=folder, seed=seed)


def load(folder: Path, words: CLIPTokenizer) -> Any:
    """The trained CLIPTextModel."""
    reader = Reader(build(words))
    reader.load_state_dict(weights("text_encoder", folder))
    return reader.encoder.eval().requires_grad_(False)


def _labels(text: str) -> list[int]:
    """Class of each attribute in a prompt; colours before 'on' belong to the shape."""
    front, _, back = text.partition(" on a ") if not text.startswith("on a ") else ("", "", text)
    where = (front, front, front, back)
    labels = []
    for names, part in zip(_CLASSES, where, strict=True):
        said = [names.index(word) for word in part.replace(",", "").split() if word in names]
        labels.append(said[0] if said else len(names))
    return labels
