"""The names of the schedulers that a drawing step may ask for.

`workers/diffusion/schedulers.py` has the classes.

A model is trained either to predict noise (Stable Diffusion) or to follow a flow (SD 3, FLUX,
Qwen-Image, Z-Image), and a scheduler serves one of the two.
"""

NOISE_SCHEDULERS = (
    "ddim",
    "dpm++-2m",
    "dpm++-2m-karras",
    "euler",
    "euler-a",
    "heun",
    "lcm",
    "pndm",
    "unipc",
)
FLOW_SCHEDULERS = ("flow-euler",)

SCHEDULERS = NOISE_SCHEDULERS + FLOW_SCHEDULERS
