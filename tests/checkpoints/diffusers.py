"""Diffusion pipelines with random weights, of every architecture that is tried."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.checkpoints.flow_pipelines import (
    flux,
    flux2_klein,
    pixart,
    qwen_image,
    sd3,
    sd35,
    z_image,
)
from tests.checkpoints.unet_pipelines import (
    FULL_SD15,
    lcm,
    sd15,
    sd15_inpainting,
    sd21,
    sdxl,
    sdxl_turbo,
    with_safety_checker,
)

__all__ = [
    "BUILDERS",
    "EXTRA",
    "FULL_SD15",
    "INPAINT",
    "LACKING",
    "REDRAW",
    "TEXT",
    "sd15",
    "sdxl",
    "with_safety_checker",
]

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "sd15": sd15,
    "sd15-inpainting": sd15_inpainting,
    "sd21": sd21,
    "sdxl": sdxl,
    "sdxl-turbo": sdxl_turbo,
    "lcm": lcm,
    "pixart": pixart,
    "sd3": sd3,
    "sd35": sd35,
    "flux": flux,
    "flux2-klein": flux2_klein,
    "qwen-image": qwen_image,
    "z-image": z_image,
}

TEXT, REDRAW, INPAINT = "text-to-image", "image-to-image", "inpainting"
# Parameters of a step: few layers of text to look at, few tokens, few steps.
EXTRA: dict[str, dict[str, Any]] = {
    "flux2-klein": {"text_encoder_out_layers": [1, 2, 3], "max_sequence_length": 64},
    "z-image": {"max_sequence_length": 64},
    "sdxl-turbo": {"guidance": 0.0, "steps": 2},
    "lcm": {"guidance": 8.0},
    "pixart": {"use_resolution_binning": False},
}
# The tasks that a pipeline of diffusers cannot do.
LACKING = {
    "flux2-klein": [INPAINT],
    "lcm": [INPAINT],
    "pixart": [REDRAW, INPAINT],
    "sd15-inpainting": [TEXT, REDRAW],
}
