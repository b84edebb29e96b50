"""The precision that a checkpoint is loaded in."""

from collections.abc import Mapping

import torch

from shared.errors import ModelNotAvailable
from workers.predictor import Checkpoint

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def dtype_of(checkpoint: Checkpoint, device: str) -> torch.dtype:
    """The setting `dtype`, else float16 on a GPU and float32 elsewhere.

    Raises ModelNotAvailable for another name.
    """
    usual = "float16" if device.startswith("cuda") else "float32"
    name = checkpoint.settings.get("dtype", usual)
    if name not in DTYPES:
        raise ModelNotAvailable(f"{checkpoint.model}: dtype {name} is none of {', '.join(DTYPES)}")
    return DTYPES[name]
