"""Trains the tiny VQA model: a BLIP that answers questions about 64 x 64 pictures in one word.

The question, read with the picture beside it, is what the answer is written from
(https://huggingface.co/Salesforce/blip-vqa-base; Li et al. 2022, arXiv:2201.12086).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
)

from workers.training.questions import PHRASES, answer, questions
from workers.training.tiny.autoencoder import to_tensor
from workers.training.tiny.captioner import SIDE, Guided, picture, scene_of, write_out
from workers.training.tiny.loop import train
from workers.training.world import SHAPES, Scene, all_scenes

STEPS = 4500
BATCH = 64
EACH = 2
"""Questions about one picture."""
RATE = 1e-3
WIDTH = 128
LENGTH = 32
"""Tokens of a question, both ends included."""
SHAPE_WEIGHT = 3.0
"""Loss weight of answers that name the shape, which are learned last."""

_TOPICS = tuple(PHRASES)


def tokenizer() -> BertTokenizer:
    """A BERT tokenizer with one token for each word of the questions and answers."""
    texts = [text for topic in _TOPICS for shape in SHAPES for text in questions(topic, shape)]
    texts += {answer(scene, topic) for topic in _TOPICS for scene in all_scenes()}
    words = sorted({word for text in texts for word in re.findall(r"\w+|\W", text)} - {" "})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)}, model_max_length=LENGTH
    )


def processor() -> BlipImageProcessorPil:
    """Any picture to 64 x 64 in [-1, 1]; bicubic, as Pillow does it, averages when it shrinks."""
    return BlipImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        resample=Image.Resampling.BICUBIC,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def build(words: BertTokenizer) -> Any:
    """The untrained BlipForQuestionAnswering: 4 layers see, 2 read and 2 write, all of 128."""
    layers = {"hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 2 * WIDTH}
    vision = layers | {
        "num_hidden_layers": 4,
        "image_size": SIDE,
        "patch_size": 8,
        "initializer_range": 0.02,  # the class's own 1e-10 stands for published weights
    }
    text = layers | {
        "num_hidden_layers": 2,
        "vocab_size": len(words),
        "max_position_embeddings": LENGTH,
        "bos_token_id": words.cls_token_id,
        "eos_token_id": words.sep_token_id,
        "sep_token_id": words.sep_token_id,
        "pad_token_id": words.pad_token_id,
    }
    return BlipForQuestionAnswering(BlipConfig(vision_config=vision, text_config=text))


def asked(scene: Scene, topic: str, rng: np.random.Generator) -> str:
    """A question as people type it: some lack the mark, some hold a word that is not known."""
    texts = questions(topic, scene.shape)
    words = texts[rng.integers(len(texts))].rstrip("?").split()
    if rng.random() < 0.15:
        words.insert(int(rng.integers(len(words) + 1)), "[UNK]")
    return " ".join(words) + ("?" if rng.random() < 0.75 else "")


def fit(
    folder: Path, seed: int, device: str, steps: int = STEPS, stop_at: int | None = None
) -> None:
    """Train with the answers' cross-entropy and, beside it, that of the attributes."""
    torch.manual_seed(seed)
    words = tokenizer()
    guided = Guided(build(words)).to(device)
    model = guided.model

    def step(number: int) -> torch.Tensor:
        rng = np.random.default_rng([seed, 9, number])
        scenes = [scene_of(rng) for _ in range(BATCH)]
        pixels = to_tensor(np.stack([np.asarray(picture(scene, rng)) for scene in scenes]))
        pairs = [
            (scene, _TOPICS[topic])
            for scene in scenes
            for topic in rng.choice(len(_TOPICS), EACH, replace=False)
        ]
        said = words([asked(*pair, rng) for pair in pairs], padding=True, return_tensors="pt")
        numbers = words([answer(*pair) for pair in pairs], return_tensors="pt").input_ids
        weight = torch.tensor([SHAPE_WEIGHT if topic == "shape" else 1.0 for _, topic in pairs])
        seen = model.vision_model(pixels.to(device)).last_hidden_state
        mask = said.attention_mask.to(device)
        read = model.text_encoder(
            input_ids=said.input_ids.to(device),
            attention_mask=mask,
            encoder_hidden_states=seen.repeat_interleave(EACH, 0),
        ).last_hidden_state
        losses = model.text_decoder(
            input_ids=numbers.to(device),
            encoder_hidden_states=read,
            encoder_attention_mask=mask,
            labels=numbers.to(device),
            reduction="none",
        ).loss
        loss = (losses * weight.to(device)).mean()
        return loss + 0.5 * guided.loss(seen[:, 0], scenes)

    train(
        "vqa", guided, step, steps=steps, peak=RATE, folder=folder, seed=seed,
        decay_from=0.5, ema=0.99, stop_at=stop_at,
    )  # fmt: skip


def export(folder: Path, out: Path, seed: int) -> None:
    """Write model, image processor and tokenizer to `out`/vqa."""
    del seed
    words = tokenizer()
    write_out("vqa", build(words), (words, processor()), folder, out)
