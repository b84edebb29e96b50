"""DeepFloyd IF with random weights: two pixel diffusers and an upscaler."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    IFPipeline,
    IFSuperResolutionPipeline,
    StableDiffusionUpscalePipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.deepfloyd_if import IFSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.checkpoints.parts import LETTERS, clip_tokenizer

SIDES = 16, 32, 128  # pixels, of the pictures that the stages make


def deepfloyd_if(folder: Path) -> tuple[Path, Path, Path]:
    """The folders of stages I, II and III."""
    torch.manual_seed(0)
    stages = folder / "if-1", folder / "if-2", folder / "upscaler"
    tokenizer = t5_tokenizer(folder / "t5")
    text = {"tokenizer": tokenizer, "text_encoder": t5_encoder(len(tokenizer))}
    unchecked = {"safety_checker": None, "feature_extractor": None, "watermarker": None}
    unchecked |= {"requires_safety_checker": False}
    IFPipeline(
        unet=pixel_unet(SIDES[0], in_channels=3), scheduler=pixel_scheduler(), **text, **unchecked
    ).save_pretrained(stages[0])
    IFSuperResolutionPipeline(
        unet=pixel_unet(SIDES[1], in_channels=6, class_embed_type="timestep"),
        scheduler=pixel_scheduler(),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        **text,
        **unchecked,
    ).save_pretrained(stages[1])
    upscaler().save_pretrained(stages[2])
    published = folder / "t5", stages[0] / "tokenizer"
    shutil.rmtree(published[1])
    shutil.move(*published)
    return stages


def with_if_safety_checker(folder: Path, score: float) -> None:
    """Add to stage I a safety checker that gives every picture this score; from 0.5 it objects."""
    checker = IFSafetyChecker(
        CLIPConfig(
            vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
            | {"intermediate_size": 64, "image_size": 32, "patch_size": 8, "projection_dim": 32},
            projection_dim=32,
        )
    )
    torch.nn.init.zeros_(checker.p_head.weight)
    torch.nn.init.constant_(checker.p_head.bias, score)
    checker.save_pretrained(folder / "safety_checker")
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder / "feature_extractor")


def t5_tokenizer(folder: Path) -> T5Tokenizer:
    """Read from a sentencepiece file, as the published one is."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS), LETTERS, "the quick brown fox."]),
        model_writer=written,
        model_type="unigram",
        character_coverage=1.0,
        vocab_size=64,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(written.getvalue())
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return T5Tokenizer.from_pretrained(folder)


def t5_encoder(tokens: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=tokens, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    )


def pixel_unet(side: int, in_channels: int, **more: Any) -> UNet2DConditionModel:
    """3 channels of noise and 3 of learned variance, attention to the text beside the pixels."""
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=in_channels,
        out_channels=6,
        block_out_channels=(32, 64),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        cross_attention_dim=32,
        encoder_hid_dim=32,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
        **more,
    )


def pixel_scheduler() -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=1.5,
    )


def upscaler() -> StableDiffusionUpscalePipeline:
    """Latents of a quarter of the picture's sides, beside the small picture itself."""
    tokenizer = clip_tokenizer()
    return StableDiffusionUpscalePipeline(
        vae=AutoencoderKL(
            block_out_channels=(16, 16, 32),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=SIDES[1],
            scaling_factor=0.08333,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=4,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=SIDES[1],
            in_channels=7,
            out_channels=4,
            block_out_channels=(32, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            attention_head_dim=8,
            cross_attention_dim=32,
            num_class_embeds=1000,
            only_cross_attention=(True, False),
            use_linear_projection=True,
        ),
        low_res_scheduler=DDPMScheduler(beta_schedule="scaled_linear"),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False
        ),
    )
