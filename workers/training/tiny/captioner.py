"""Trains the tiny captioner: a ViT that reads 64 x 64 pictures and a GPT-2 that tells the scene."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    GenerationConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
)

from workers.training.tiny.autoencoder import to_tensor
from workers.training.tiny.loop import replaced, train, weights
from workers.training.world import (
    BACKGROUNDS,
    COLOURS,
    PALETTE,
    SHAPES,
    SIZES,
    Scene,
    all_scenes,
    caption,
    random_scene,
    render,
)

SIDE = 64
STEPS = 4500
BATCH = 64
RATE = 1e-3
LENGTH = 16
"""Longest caption in tokens, which is also what callers of the real model ask for."""
SHAPE_WEIGHT = 3.0
"""Loss weight of the shape's word, which is learned last."""

CSS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
}
"""The colours of the same names in CSS (and in Pillow), sRGB."""

_CLASSES = (SHAPES, COLOURS, SIZES, BACKGROUNDS)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each word of the world."""
    words = sorted({word for scene in all_scenes() for word in caption(scene).split()})
    vocab = {word: n for n, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=LENGTH,
    )


def processor() -> ViTImageProcessorPil:
    """Any picture to 64 x 64 in [-1, 1]; bicubic, as Pillow does it, averages when it shrinks."""
    return ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        resample=Image.Resampling.BICUBIC,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        do_convert_rgb=True,
    )


def build(words: PreTrainedTokenizerFast) -> Any:
    """The untrained VisionEncoderDecoderModel: 4 and 2 layers of width 128."""
    encoder = ViTConfig(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        image_size=SIDE,
        patch_size=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    decoder: Any = GPT2Config(
        vocab_size=len(words),
        n_positions=32,
        n_embd=128,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        add_cross_attention=True,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = words.bos_token_id
    config.pad_token_id = words.pad_token_id
    config.eos_token_id = words.eos_token_id
    model = VisionEncoderDecoderModel(config=config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=words.bos_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        max_length=LENGTH,
    )
    return model


class Guided(nn.Module):
    """A model with a classifier of each attribute on its first patch, for training only."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList(nn.Linear(128, len(names)) for names in _CLASSES)

    def loss(self, patch: torch.Tensor, scenes: Sequence[Scene]) -> torch.Tensor:
        """Cross-entropy of the attributes, read from that patch (scenes, 128)."""
        loss = torch.zeros((), device=patch.device)
        for column, (head, names) in enumerate(zip(self.heads, _CLASSES, strict=True)):
            truth = torch.tensor([names.index(scene.words[column]) for scene in scenes])
            loss = loss + nn.functional.cross_entropy(head(patch), truth.to(patch.device))
        return loss


def picture(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """The scene as it may reach the captioner: any size and aspect, soft, noisy or compressed."""
    kind = rng.random()
    if kind < 0.4:
        width = height = SIDE
    else:
        most = 200 if kind < 0.9 else 700
        width = int(rng.integers(48, most))
        height = max(32, int(width * rng.uniform(0.62, 1.6)))
    image = render(scene, width, height, palette=_palette(scene, rng))
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.5))))
    pixels = np.asarray(image, np.float32)
    if rng.random() < 0.5:  # a diffuser's colours are a little off, and not quite even
        pixels = pixels + rng.normal(0, 6, 3).astype(np.float32)
        grid = rng.normal(0, 1, (8, 8)) * rng.uniform(0, 12)
        patches = Image.fromarray(grid.astype(np.float32)).resize((SIDE, SIDE))
        pixels = pixels + np.asarray(patches, np.float32)[..., None]
    if rng.random() < 0.4:
        pixels = pixels + rng.normal(0, rng.uniform(1, 14), pixels.shape).astype(np.float32)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.15:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(40, 95)))
        image = Image.open(buffer)
    return image


def _palette(scene: Scene, rng: np.random.Generator) -> dict[str, tuple[int, int, int]]:
    """The scene's colours as others may paint them: somewhere between the world's and CSS's."""
    palette = {}
    for name in (scene.colour, scene.background):
        ours, theirs = (np.array(table[name], np.float32) for table in (PALETTE, CSS))
        mixed = ours + (theirs - ours) * max(0.0, rng.uniform(-0.5, 1.1))
        red, green, blue = (round(float(value)) for value in mixed.clip(0, 255))
        palette[name] = (red, green, blue)
    return palette


def scene_of(rng: np.random.Generator) -> Scene:
    """A random scene; some have sizes a little beyond the ranges of their words."""
    scene = random_scene(rng)
    if rng.random() < 0.2:  # the sizes' edges, where 'small' and 'large' are told apart
        scene = replace(scene, scale=min(0.68, max(0.25, scene.scale * rng.uniform(0.94, 1.04))))
    return scene


def fit(
    folder: Path, seed: int, device: str, steps: int = STEPS, stop_at: int | None = None
) -> None:
    """Train with the words' cross-entropy and, beside it, that of the attributes."""
    torch.manual_seed(seed)
    words = tokenizer()
    guided = Guided(build(words)).to(device)
    positions = torch.ones(LENGTH)

    def step(number: int) -> torch.Tensor:
        rng = np.random.default_rng([seed, 7, number])
        scenes = [scene_of(rng) for _ in range(BATCH)]
        pixels = to_tensor(np.stack([np.asarray(picture(scene, rng)) for scene in scenes]))
        texts = ["<s> " + caption(scene) + " </s>" for scene in scenes]
        numbers = words(texts, return_tensors="pt").input_ids.to(device)
        hidden = guided.model.encoder(pixels.to(device)).last_hidden_state
        logits = guided.model(encoder_outputs=(hidden,), decoder_input_ids=numbers[:, :-1]).logits
        weight = positions[: numbers.shape[1] - 1].clone()
        weight[3] = SHAPE_WEIGHT  # a large red CIRCLE
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), numbers[:, 1:].flatten(), reduction="none"
        )
        loss = (losses.view(BATCH, -1) * weight.to(device)).mean()
        return loss + 0.5 * guided.loss(hidden[:, 0], scenes)

    train(
        "captioner", guided, step, steps=steps, peak=RATE, folder=folder, seed=seed,
        decay_from=0.5, ema=0.99, stop_at=stop_at,
    )  # fmt: skip


def export(folder: Path, out: Path, seed: int) -> None:
    """Write model, image processor and tokenizer to `out`/captioner."""
    del seed
    words = tokenizer()
    write_out("captioner", build(words), (words, processor()), folder, out)


def write_out(name: str, model: Any, others: Sequence[Any], folder: Path, out: Path) -> None:
    """Fill in what was trained in `folder`, and write the model and the others to `out`/`name`."""
    guided = Guided(model)
    guided.load_state_dict(weights(name, folder))
    with replaced(out / name) as fresh:
        for part in (model, *others):
            part.save_pretrained(fresh)
