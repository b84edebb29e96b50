"""Diffusion transformers with random weights; all but PixArt were trained by flow matching."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.checkpoints.parts import LETTERS, clip_tokenizer
from tests.checkpoints.unet_pipelines import autoencoder, text_encoder

CHAT = (
    "{% for each in messages %}<|im_start|>{{ each.role }}\n{{ each.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def t5_tokenizer() -> T5Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *LETTERS, *"0123456789"]
    return T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)


def t5(width: int) -> T5EncoderModel:
    sizes = {"d_model": width, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return T5EncoderModel(T5Config(**sizes, vocab_size=len(t5_tokenizer())))


def qwen_tokenizer() -> Qwen2Tokenizer:
    """One token for a byte."""
    special = ["<|im_start|>", "<|im_end|>"]
    tokens = ["<|endoftext|>", *special, *sorted(ByteLevel.alphabet())]
    vocab = {token: number for number, token in enumerate(tokens)}
    return Qwen2Tokenizer(vocab=vocab, merges=[], extra_special_tokens=special, chat_template=CHAT)


def qwen3() -> Qwen3ForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, vocab_size=len(qwen_tokenizer())))


def pixart(folder: Path) -> Path:
    """PixArt-Sigma: T5 alone, a transformer that predicts noise, and the callback of old."""
    torch.manual_seed(0)
    PixArtSigmaPipeline(
        transformer=PixArtTransformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, out_channels=8, num_layers=1,
            attention_head_dim=8, num_attention_heads=4, caption_channels=32,
            cross_attention_dim=32,
        ),
        scheduler=DPMSolverMultistepScheduler(),
        vae=autoencoder({}),
        text_encoder=t5(32),
        tokenizer=t5_tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def sd3(folder: Path, **transformer: Any) -> Path:
    """Stable Diffusion 3: two CLIPs and a T5."""
    torch.manual_seed(0)
    clip = clip_tokenizer()
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=16, out_channels=16, num_layers=2,
            attention_head_dim=8, num_attention_heads=4, joint_attention_dim=64,
            caption_projection_dim=32, pooled_projection_dim=64, pos_embed_max_size=32,
            **transformer,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder({"latent_channels": 16, "shift_factor": 0.06}),
        text_encoder=text_encoder(CLIPTextModelWithProjection, clip, {}),
        tokenizer=clip,
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, clip, {}),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(64),
        tokenizer_3=t5_tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def sd35(folder: Path) -> Path:
    """Stable Diffusion 3.5: as 3, with normalised queries and keys and a second attention."""
    return sd3(folder, qk_norm="rms_norm", dual_attention_layers=(0,))


def flux(folder: Path) -> Path:
    """FLUX.1 [dev]: CLIP and T5, guidance as a condition, 2 by 2 latents packed into one."""
    torch.manual_seed(0)
    clip = clip_tokenizer()
    FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
            guidance_embeds=True, axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder({"shift_factor": 0.1}),
        text_encoder=text_encoder(CLIPTextModel, clip, {}),
        tokenizer=clip,
        text_encoder_2=t5(32),
        tokenizer_2=t5_tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def flux2_klein(folder: Path) -> Path:
    """FLUX.2 [klein]: Qwen 3, whose layers 1, 2 and 3 here stand in for 9, 18 and 27."""
    torch.manual_seed(0)
    Flux2KleinPipeline(
        transformer=Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=3 * 16, axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(16, 32), layers_per_block=1, latent_channels=4, norm_num_groups=8,
        ),
        text_encoder=qwen3(),
        tokenizer=qwen_tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def z_image(folder: Path) -> Path:
    """Z-Image: text of any length and picture in one sequence."""
    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
        cap_feat_dim=16, axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    )  # fmt: skip
    for padding in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(padding)  # the model leaves them as the memory was
    ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder({"shift_factor": 0.1}),
        text_encoder=qwen3(),
        tokenizer=qwen_tokenizer(),
    ).save_pretrained(folder)
    return folder


def qwen_image(folder: Path) -> Path:
    """Qwen-Image: Qwen 2.5 VL, and an autoencoder made for video."""
    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    text |= {"vocab_size": len(qwen_tokenizer()), "bos_token_id": None, "eos_token_id": None}
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16,
            num_attention_heads=3, joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(
            base_dim=16, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(
                text_config={**text, "rope_parameters": rope},
                vision_config={**vision, "out_hidden_size": 16},
            )
        ),
        tokenizer=qwen_tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder
