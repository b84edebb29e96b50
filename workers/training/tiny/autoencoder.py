"""The diffuser's autoencoder: 64 x 64 RGB to 16 x 16 latents of 4 channels, and back."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from workers.training.tiny.loop import train, weights
from workers.training.world import random_scene, render

STEPS = 1100
BATCH = 32
RATE = 1.5e-3
KL_WEIGHT = 1e-5
POSTERIOR_LOG_VARIANCE = -7.0
"""Set once trained: the samples of img2img's encoder then differ little from their mean."""


def build() -> Any:
    """The untrained AutoencoderKL: factor 4 (at factor 8 the colours are lost), no attention."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def pixels(rng: np.random.Generator, count: int, side: int = 64) -> torch.Tensor:
    """Random renders, (count, 3, side, side) in [-1, 1]."""
    pictures = [np.asarray(render(random_scene(rng), side, side)) for _ in range(count)]
    return to_tensor(np.stack(pictures))


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (n, h, w, 3) to float32 (n, 3, h, w) in [-1, 1], as diffusers' image processor does."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def fit(
    folder: Path, seed: int, device: str, steps: int = STEPS, stop_at: int | None = None
) -> None:
    """Train with L1, squared error and a small Kullback-Leibler term."""
    torch.manual_seed(seed)
    model = build().to(device, memory_format=torch.channels_last)

    def step(number: int) -> torch.Tensor:
        batch = pixels(np.random.default_rng([seed, 1, number]), BATCH).to(device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        posterior = model.encode(batch).latent_dist
        error = model.decode(posterior.sample()).sample - batch
        loss = error.abs().mean() + 2 * error.square().mean()
        return loss + KL_WEIGHT * posterior.kl().mean()

    train(
        "autoencoder", model, step, steps=steps, peak=RATE, folder=folder, seed=seed,
        decay_from=0.3, ema=0.99, stop_at=stop_at,
    )  # fmt: skip


def load(folder: Path, seed: int) -> Any:
    """The trained AutoencoderKL, its latents brought to mean 0 and deviation 1 in each channel.

    The pipelines know one scaling factor and no shift, so both are folded into the 1 x 1
    convolutions around the latents; the factor is 1.
    """
    model = build()
    model.load_state_dict(weights("autoencoder", folder))
    model.eval()
    with torch.no_grad():
        batch = pixels(np.random.default_rng([seed, 2]), 512)
        means = torch.cat([model.encode(part).latent_dist.mean for part in batch.split(64)])
        shift, scale = means.mean((0, 2, 3)), means.std((0, 2, 3))
        before, after = model.quant_conv, model.post_quant_conv
        before.weight[:4] /= scale.view(4, 1, 1, 1)
        before.bias[:4] = (before.bias[:4] - shift) / scale
        before.weight[4:] = 0
        before.bias[4:] = POSTERIOR_LOG_VARIANCE
        after.bias += (after.weight[:, :, 0, 0] * shift).sum(1)
        after.weight *= scale.view(1, 4, 1, 1)
    return model


@torch.no_grad()
def fidelity(model: Any, seed: int, count: int = 128) -> float:
    """Mean peak signal-to-noise ratio of fresh renders, decibels."""
    batch = pixels(np.random.default_rng([seed, 3]), count)
    error = (model.decode(model.encode(batch).latent_dist.mean).sample.clamp(-1, 1) - batch) / 2
    return float(-10 * torch.log10(error.square().mean((1, 2, 3))).mean())
