"""LoRA files with random weights, written as a training script writes them."""

from pathlib import Path

import torch
from diffusers import AutoPipelineForText2Image
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict

DENOISER = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_ENCODER = ["q_proj", "v_proj"]


def lora(folder: Path, pipeline: Path, seed: int, with_text_encoder: bool = False) -> Path:
    """A folder with a LoRA for the attention of a pipeline's denoiser, and of its text encoder."""
    torch.manual_seed(seed)
    pipe = AutoPipelineForText2Image.from_pretrained(pipeline)
    denoiser = "unet" if hasattr(pipe, "unet") else "transformer"
    layers = {denoiser: DENOISER} | ({"text_encoder": TEXT_ENCODER} if with_text_encoder else {})
    for part, names in layers.items():
        # Its alpha, which only the file's metadata tells, is not its rank.
        config = LoraConfig(r=2, lora_alpha=6, init_lora_weights=False, target_modules=names)
        getattr(pipe, part).add_adapter(config)
    parts = {part: getattr(pipe, part) for part in layers}
    weights = {
        f"{part}_lora_layers": get_peft_model_state_dict(model) for part, model in parts.items()
    }
    type(pipe).save_lora_weights(folder, **weights, **_collate_lora_metadata(parts))
    return folder
