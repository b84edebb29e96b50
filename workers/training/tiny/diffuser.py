"""Trains the tiny Stable Diffusion: prompts to 16 x 16 latents of 64 x 64 pictures.

Velocity prediction on a cosine schedule whose last step is pure noise. Beside the usual examples
there are edits: the noise then holds what is left of another picture with a shape at the same
place, so that image-to-image keeps the place and takes everything else from the prompt.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from workers.training.tiny import autoencoder, prompts
from workers.training.tiny.loop import replaced, train, weights
from workers.training.world import SIZES, Scene, box, random_scene, random_words, render

STEPS = 6000
BATCH = 64
RATE = 1e-3
PLACES = 8000
"""Places of which the training set holds `LOOKS` pictures each."""
LOOKS = 5
EMPTY = 0.1
"""Share of examples without a prompt, for classifier-free guidance."""
EDITS = 0.4
"""Share of examples that hold a remainder of another picture at the same place."""
REMAINDER = (-0.4, 0.6)
"""Least and most of it in the noise. At strength 0.75 an edit starts at 0.41 on this schedule;
strong guidance overshoots, which is a remainder below zero."""
OVERWRITTEN = (0.5, 250)
"""Share of the edits, from this time step on, in which the picture itself is a mixture: the
prompt then wins over colours that strong guidance or the first picture have already drawn."""
SIZED_UNTIL = 850
"""Time step from which the size is not seen in the noise and must be told rightly."""


def build() -> Any:
    """The untrained UNet: prompts enter by cross-attention and beside the time step."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 128),
        layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=prompts.WIDTH,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def scheduler() -> Any:
    """Cosine schedule: at strength 0.75 a shape's place is above the noise, its edges are not."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


class Latents:
    """The training set: PLACES places with LOOKS pictures each, encoded once.

    latents: (places, looks, 4, 16, 16), weights: (places, 1, 16, 16) of the loss, which makes the
    shape's surroundings count as much as the rest, however small; words: what each one shows.
    """

    def __init__(self, vae: Any, seed: int, device: str, places: int = PLACES) -> None:
        self.words: list[list[tuple[str, str, str, str]]] = []
        latents, weight = [], []
        for place in range(places):
            rng = np.random.default_rng([seed, 5, place])
            scene = random_scene(rng)
            scenes = [scene] + [_look(scene, rng) for _ in range(LOOKS - 1)]
            self.words.append([each.words for each in scenes])
            pictures = np.stack([np.asarray(render(each)) for each in scenes])
            latents.append(autoencoder.to_tensor(pictures).mul(127.5).add(127.5).to(torch.uint8))
            weight.append(_weight(scene))
        encoded = []
        with torch.inference_mode():
            for part in torch.cat(latents).split(128):
                part = part.to(device).float() / 127.5 - 1
                encoded.append(vae.encode(part).latent_dist.mean)
        self.latents = torch.cat(encoded).unflatten(0, (places, LOOKS)).clone()
        self.weights = torch.from_numpy(np.stack(weight)).unsqueeze(1).to(device)


def fit(
    folder: Path,
    seed: int,
    device: str,
    steps: int = STEPS,
    stop_at: int | None = None,
    places: int = PLACES,
) -> None:
    """Train on cached latents of the trained autoencoder, under the trained text encoder."""
    words = prompts.tokenizer()
    vae = autoencoder.load(folder, seed).to(device)
    data = Latents(vae, seed, device, places)
    torch.manual_seed(seed)
    model = build().to(device)
    encoder = prompts.load(folder, words).to(device)
    signals = scheduler().alphas_cumprod.to(device)

    def step(number: int) -> torch.Tensor:
        rng = np.random.default_rng([seed, 6, number])
        which = torch.from_numpy(rng.integers(places, size=BATCH)).to(device)
        look = rng.permuted(np.tile(np.arange(LOOKS), (BATCH, 1)), axis=1)
        target = data.latents[which, torch.from_numpy(look[:, 0]).to(device)]
        other = data.latents[which, torch.from_numpy(look[:, 1]).to(device)]
        empty, edits = rng.random(BATCH) < EMPTY, rng.random(BATCH) < EDITS
        edits &= ~empty
        # More of the late times: all that matters is settled while there is much noise.
        clock = (1000 * rng.random(BATCH) ** 0.7).astype(np.int64)
        texts = []
        for each, place in enumerate(which.tolist()):
            said = data.words[place][look[each, 0]]
            if edits[each] and clock[each] < SIZED_UNTIL:
                # The size is part of the place, whatever the prompt says.
                said = (said[0], said[1], SIZES[rng.integers(2)], said[3])
            texts.append("" if empty[each] else prompts.prompt(said, rng, whole=bool(edits[each])))
        times = torch.from_numpy(clock).to(device)
        signal = signals[times].sqrt().view(-1, 1, 1, 1)
        noise = (1 - signals[times]).sqrt().view(-1, 1, 1, 1)
        remainder = _column(rng.uniform(*REMAINDER, BATCH) * edits, device)
        # At the start of an edit the remainder is the whole other picture, never more than it.
        remainder = torch.minimum(remainder, signal / noise)
        mixed = edits & (rng.random(BATCH) < OVERWRITTEN[0]) & (clock >= OVERWRITTEN[1])
        over = _column(mixed, device)
        share = _column(rng.random(BATCH), device)
        remainder = torch.where(over > 0, share * signal / noise, remainder)
        sample = torch.from_numpy(rng.standard_normal(target.shape, np.float32)).to(device)
        noisy = signal * target + noise * (sample + remainder * (other - target))
        velocity = (signal * noisy - target) / noise
        with torch.no_grad():
            hidden = encoder(prompts.tokens(words, texts).to(device)).last_hidden_state
        guess = model(noisy, times, hidden).sample
        # A mixture's velocity is large where there is little noise: count its picture instead.
        scale = torch.where(over > 0, noise.square(), torch.ones_like(noise))
        return (scale * data.weights[which] * (guess - velocity).square()).mean()

    train(
        "diffuser", model, step, steps=steps, peak=RATE, folder=folder, seed=seed,
        decay_from=0.3, ema=0.998, stop_at=stop_at,
    )  # fmt: skip


def export(folder: Path, out: Path, seed: int) -> None:
    """Write the pipeline in half precision to `out`/diffuser."""
    words = prompts.tokenizer()
    model = build()
    model.load_state_dict(weights("diffuser", folder))
    pipe: Any = StableDiffusionPipeline(
        vae=autoencoder.load(folder, seed).half(),
        text_encoder=prompts.load(folder, words).half(),
        tokenizer=words,
        unet=model.half(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with replaced(out / "diffuser") as fresh:
        pipe.save_pretrained(fresh)


def _column(values: np.ndarray, device: str) -> torch.Tensor:
    """Numbers (n,) as a tensor (n, 1, 1, 1)."""
    return torch.from_numpy(values.astype(np.float32)).to(device).view(-1, 1, 1, 1)


def _look(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another shape with other colours at the place of a scene."""
    shape, colour, background = random_words(rng)
    return replace(scene, shape=shape, colour=colour, background=background)


def _weight(scene: Scene) -> np.ndarray:
    """Weights (16, 16) of mean 1: half of them on the box and one latent around it."""
    left, top, right, bottom = box(scene, 16, 16)
    inside = np.zeros((16, 16), np.float32)
    rows = slice(max(0, round(top) - 1), round(bottom) + 1)
    inside[rows, max(0, round(left) - 1) : round(right) + 1] = 1
    share = inside.mean()
    return (0.5 * inside / share + 0.5 * (1 - inside) / (1 - share)).astype(np.float32)
