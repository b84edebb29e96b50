"""Random-weight checkpoints of every architecture that the families load.

A builder writes a folder such as the model hub holds. Its defaults are tiny; the `FULL` sizes are
those of the published models, in half precision for a GPU.
"""

from tests.checkpoints.captioners import FULL_BLIP_LARGE, blip, git, vit_gpt2
from tests.checkpoints.diffusers import FULL_SD15, sd15, sdxl, with_safety_checker
from tests.checkpoints.translators import FULL_NLLB_600M, m2m100, marian, nllb

__all__ = [
    "FULL_BLIP_LARGE",
    "FULL_NLLB_600M",
    "FULL_SD15",
    "blip",
    "git",
    "m2m100",
    "marian",
    "nllb",
    "sd15",
    "sdxl",
    "vit_gpt2",
    "with_safety_checker",
]
