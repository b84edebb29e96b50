"""Stable Diffusion with random weights: pipelines around a UNet."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from tests.checkpoints.parts import clip_tokenizer

FULL_SD15: dict[str, Any] = {
    "unet": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "attention_head_dim": 8,
        "layers_per_block": 2,
        "norm_num_groups": 32,
    },
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "sample_size": 512,
    },
    "text": {"hidden_size": 768, "intermediate_size": 3072, "vocab_size": 49408}
    | {"num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768},
}


BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def text_encoder(kind: type[Any], tokenizer: CLIPTokenizer, sizes: dict[str, Any]) -> Any:
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 4, "projection_dim": 32, "vocab_size": len(tokenizer)}
    return kind(
        CLIPTextConfig(
            **(small | sizes),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def autoencoder(sizes: dict[str, Any]) -> AutoencoderKL:
    small = {"block_out_channels": (16, 32), "norm_num_groups": 8, "sample_size": 32}
    sizes = small | {"latent_channels": 4} | sizes
    levels = len(sizes["block_out_channels"])
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        **sizes,
    )


def stable_diffusion(
    folder: Path,
    scheduler: Any,
    kind: type[Any] = StableDiffusionPipeline,
    device: str = "cpu",
    **sizes: Any,
) -> Path:
    """A UNet with one text encoder."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    text = sizes.get("text", {})
    small = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "in_channels": 4,
    }
    with torch.device(device):
        unet = UNet2DConditionModel(
            **(small | sizes.get("unet", {})),
            out_channels=4,
            cross_attention_dim=text.get("hidden_size", 32),
        )
        vae = autoencoder(sizes.get("vae", {}))
        encoder = text_encoder(CLIPTextModel, tokenizer, text)
    pipe = kind(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    (pipe.to(torch.float16) if device != "cpu" else pipe).save_pretrained(folder)
    return folder


def sd15(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """Stable Diffusion 1.x: one text encoder, PNDM."""
    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
    return stable_diffusion(folder, scheduler, device=device, **sizes)


def sd21(folder: Path) -> Path:
    """Stable Diffusion 2.1: predicts the velocity, DDIM."""
    scheduler = DDIMScheduler(
        **BETAS, prediction_type="v_prediction", clip_sample=False, steps_offset=1
    )
    return stable_diffusion(folder, scheduler, unet={"use_linear_projection": True})


def sd15_inpainting(folder: Path) -> Path:
    """Stable Diffusion 1.x trained to inpaint: its UNet sees mask and picture too."""
    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
    unet = {"in_channels": 9}
    return stable_diffusion(folder, scheduler, StableDiffusionInpaintPipeline, unet=unet)


def lcm(folder: Path) -> Path:
    """Latent Consistency Model: distilled to few steps, guidance as a condition."""
    unet = {"time_cond_proj_dim": 16}
    return stable_diffusion(
        folder, LCMScheduler(**BETAS), LatentConsistencyModelPipeline, unet=unet
    )


def with_safety_checker(folder: Path) -> Path:
    """Add to a Stable Diffusion what the published one has, its old names included."""
    StableDiffusionSafetyChecker(
        CLIPConfig(
            vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
            | {"intermediate_size": 64, "image_size": 32, "patch_size": 8},
            projection_dim=32,
        )
    ).save_pretrained(folder / "safety_checker")
    (folder / "feature_extractor").mkdir()
    settings = {"crop_size": 32, "size": 32, "do_center_crop": True, "do_convert_rgb": True}
    settings |= {"do_normalize": True, "do_resize": True, "resample": 3}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    settings |= {"feature_extractor_type": "CLIPFeatureExtractor"}
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(settings))
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def sdxl(folder: Path) -> Path:
    """Stable Diffusion XL: two text encoders, sizes as conditions, Euler."""
    return stable_diffusion_xl(folder, EulerDiscreteScheduler(**BETAS, steps_offset=1))


def sdxl_turbo(folder: Path) -> Path:
    """SDXL-Turbo: distilled to one step without guidance."""
    scheduler = EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing")
    return stable_diffusion_xl(folder, scheduler)


def stable_diffusion_xl(folder: Path, scheduler: Any) -> Path:
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4),
        layers_per_block=1, norm_num_groups=8, use_linear_projection=True, cross_attention_dim=64,
        addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2), projection_class_embeddings_input_dim=6 * 8 + 32,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=autoencoder({}),
        text_encoder=text_encoder(CLIPTextModel, tokenizer, {}),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, tokenizer, {}),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder
