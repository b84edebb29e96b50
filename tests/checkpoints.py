"""Random-weight checkpoints of every architecture that the families load.

A builder writes a folder such as the model hub holds. Its defaults are tiny; the `FULL` sizes are
those of the published models, in half precision for a GPU.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GitConfig,
    GitForCausalLM,
    GPT2Config,
    GPT2Tokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
FULL_BLIP_LARGE: dict[str, Any] = {
    "pixels": 384,
    "patch": 16,
    "vision": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    | {"intermediate_size": 4096},
    "text": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    | {"intermediate_size": 3072, "vocab_size": 30524, "encoder_hidden_size": 1024},
}
FULL_NLLB_600M: dict[str, Any] = {
    "vocab_size": 256206,
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "init_std": 0.02,
}
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


def blip(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """BLIP: a vision tower, and BERT with cross-attention."""
    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"intermediate_size": 64}
    pixels = sizes.get("pixels", 32)
    vision = {**small, **sizes.get("vision", {}), "image_size": pixels}
    text = {**small, "vocab_size": 64, "encoder_hidden_size": vision["hidden_size"]}
    text |= sizes.get("text", {})
    text |= {"bos_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    text |= {"eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = BlipConfig(
        vision_config={**vision, "patch_size": sizes.get("patch", 8)}, text_config=text
    )
    with torch.device(device):
        model = BlipForConditionalGeneration(config)
    processor = BlipImageProcessorPil(size={"height": pixels, "width": pixels})
    save(folder, device, model, tokenizer, processor)
    return folder


def vit_gpt2(folder: Path) -> Path:
    """A ViT with a GPT-2 that has cross-attention; settings missing or old, as published."""
    torch.manual_seed(0)
    letters = [*LETTERS, "Ġ", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(letters)}
    vision = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=32, patch_size=8,
    )  # fmt: skip
    end = vocab["<|endoftext|>"]
    text = GPT2Config(
        vocab_size=len(vocab), n_embd=32, n_layer=2, n_head=4, n_positions=64, is_decoder=True,
        add_cross_attention=True, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    model = VisionEncoderDecoderModel(
        VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    )
    model.config.decoder_start_token_id = end
    save(folder, "cpu", model, GPT2Tokenizer(vocab=vocab, merges=[]))
    (folder / "generation_config.json").unlink(missing_ok=True)
    settings = {"do_normalize": True, "do_resize": True, "resample": 2, "size": 32}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    settings |= {"feature_extractor_type": "ViTFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def git(folder: Path) -> Path:
    """GIT: a CLIP vision tower whose patches are the first tokens of a BERT decoder."""
    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = GitConfig(
        vision_config={**small, "intermediate_size": 64, "image_size": 32, "patch_size": 8},
        **small,
        intermediate_size=64,
        vocab_size=64,
        max_position_embeddings=64,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    save(folder, "cpu", GitForCausalLM(config), tokenizer, processor)
    return folder


def nllb(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """M2M100 with the NLLB tokenizer: all 202 languages, an alphabet for the rest."""
    torch.manual_seed(0)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, ".", ",", "ا", "ب", "ج", "د"]
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = NllbTokenizer(vocab=vocab, merges=[], model_max_length=1024)
    small: dict[str, Any] = {"vocab_size": len(tokenizer), "d_model": 32}
    small |= {"encoder_layers": 2, "decoder_layers": 2}
    small |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    small |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    small |= {"init_std": 0.3}  # with less, a tiny model writes one token over and over
    config = M2M100Config(**(small | sizes), max_position_embeddings=1024, scale_embedding=True)
    with torch.device(device):
        model = M2M100ForConditionalGeneration(config)
    save(folder, device, model, tokenizer)
    return folder


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


def marian(folder: Path, targets: Sequence[str] = ()) -> Path:
    """Marian; `targets` such as `>>ara<<` for a model of several target languages."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model = sentencepiece_model()
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model)
    vocab = {name: number for number, name in enumerate([*pieces(model), *targets, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
        model_max_length=128,
    )
    pad = tokenizer.pad_token_id
    config = MarianConfig(
        vocab_size=tokenizer.vocab_size, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=128, pad_token_id=pad, eos_token_id=0,
        decoder_start_token_id=pad, forced_eos_token_id=None, init_std=0.3,
    )  # fmt: skip
    save(folder, "cpu", MarianMTModel(config), tokenizer)
    return folder


def m2m100(folder: Path) -> Path:
    """M2M100 with its own tokenizer: 100 languages by their two letters."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model = sentencepiece_model()
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces(model)[2:]]
    vocab = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = M2M100Tokenizer(
        str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"), model_max_length=1024
    )
    config = M2M100Config(
        vocab_size=len(tokens) + 108, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=1024, init_std=0.3,
    )  # fmt: skip
    save(folder, "cpu", M2M100ForConditionalGeneration(config), tokenizer)
    return folder


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
    sizes = small | sizes
    levels = len(sizes["block_out_channels"])
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        **sizes,
    )


def sd15(folder: Path, device: str = "cpu", **sizes: Any) -> Path:
    """Stable Diffusion 1.x: one text encoder, PNDM."""
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
    }
    with torch.device(device):
        unet = UNet2DConditionModel(
            **(small | sizes.get("unet", {})),
            in_channels=4,
            out_channels=4,
            cross_attention_dim=text.get("hidden_size", 32),
        )
        vae = autoencoder(sizes.get("vae", {}))
        encoder = text_encoder(CLIPTextModel, tokenizer, text)
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        skip_prk_steps=True, steps_offset=1,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
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
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder
