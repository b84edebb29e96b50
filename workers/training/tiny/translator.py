"""Trains the tiny translator: a Marian model from English captions to Arabic and French.

The target language is asked for as the multilingual Marian models of Helsinki-NLP do, by a token
before the source: ">>ara<< a large red circle on a white background".
"""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from torch import nn
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

from workers.training.tiny.loop import replaced, train, weights, write_json
from workers.training.world import LANGUAGES, Scene, all_scenes, caption, random_scene

TOKENS = {"arb_Arab": ">>ara<<", "fra_Latn": ">>fra<<"}
"""Target tokens of the languages."""

STEPS = 1200
BATCH = 64
RATE = 2e-3
LENGTH = 64
VOCABULARY = 320

_OTHER = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"-()/&éèàçêîôûù"
"""Characters beside the captions' own that are read as themselves, not as unknown."""


def tokenizer(folder: Path) -> MarianTokenizer:
    """Write source.spm, target.spm and vocab.json to a folder, and load them.

    One sentencepiece model serves both sides, as in the models whose vocabulary is shared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = [caption(scene, language) for scene in all_scenes() for language in LANGUAGES]
    model = io.BytesIO()  # a file's path would be written into the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        character_coverage=1.0,
        required_chars=_OTHER,
        num_threads=1,
        bos_id=-1,
        pad_id=-1,
        eos_id=0,
        unk_id=1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    names = [pieces.id_to_piece(number) for number in range(pieces.get_piece_size())]
    vocab = {name: number for number, name in enumerate([*names, *TOKENS.values(), "<pad>"])}
    write_json(vocab, folder / "vocab.json")
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model.getvalue())
    return MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
        source_lang="eng",
        target_lang="mul",
        model_max_length=LENGTH,
    )


def build(words: MarianTokenizer) -> Any:
    """The untrained MarianMTModel: 2 + 2 layers of width 96."""
    pad, eos = words.pad_token_id, words.eos_token_id
    config = MarianConfig(
        vocab_size=words.vocab_size,
        max_position_embeddings=2 * LENGTH,
        d_model=96,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=192,
        decoder_ffn_dim=192,
        dropout=0.0,
        attention_dropout=0.0,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=pad,
        eos_token_id=eos,
        decoder_start_token_id=pad,
        forced_eos_token_id=None,
    )
    model = MarianMTModel(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=pad,
        pad_token_id=pad,
        eos_token_id=eos,
        bad_words_ids=[[pad]],
        max_length=LENGTH,
        num_beams=2,
    )
    return model


def pair(scene: Scene, language: str, rng: np.random.Generator) -> tuple[str, str]:
    """(source with its target token, target): half of them the whole caption, half a part."""
    parts = ("size", "colour", "ground")
    said = parts if rng.random() < 0.5 else [part for part in parts if rng.random() < 0.5]
    return f"{TOKENS[language]} {caption(scene, said=said)}", caption(scene, language, said)


def fit(
    folder: Path, seed: int, device: str, steps: int = STEPS, stop_at: int | None = None
) -> None:
    """Train on random scenes in both languages."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as scratch:
        words = tokenizer(Path(scratch))
    model = build(words).to(device)
    languages = tuple(TOKENS)

    def step(number: int) -> torch.Tensor:
        rng = np.random.default_rng([seed, 8, number])
        pairs = [pair(random_scene(rng), languages[rng.integers(2)], rng) for _ in range(BATCH)]
        sources, targets = zip(*pairs, strict=True)
        batch = words(list(sources), text_target=list(targets), padding=True, return_tensors="pt")
        labels = batch.labels.masked_fill(batch.labels == words.pad_token_id, -100).to(device)
        logits = model(
            input_ids=batch.input_ids.to(device),
            attention_mask=batch.attention_mask.to(device),
            labels=labels,
        ).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    train(
        "translator", model, step, steps=steps, peak=RATE, folder=folder, seed=seed,
        ema=0.99, stop_at=stop_at,
    )  # fmt: skip


def export(folder: Path, out: Path, seed: int) -> None:
    """Write model and tokenizer to `out`/translator."""
    del seed
    with replaced(out / "translator") as fresh, tempfile.TemporaryDirectory() as scratch:
        words = tokenizer(Path(scratch))
        model = build(words)
        model.load_state_dict(weights("translator", folder))
        model.save_pretrained(fresh)
        words.save_pretrained(fresh)
