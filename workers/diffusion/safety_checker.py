"""The safety checker that a published Stable Diffusion brings along.

The pipeline would black out what its checker objects to. Here the picture stays as it is, and
the verdict goes with it.
"""

from typing import Any

import torch
from PIL import Image


class PipelineChecker:
    """Compares a picture's CLIP embedding with those of unwanted concepts.

    Source: Rando et al., "Red-Teaming the Stable Diffusion Safety Filter" (2022), describes it.
    """

    def __init__(self, model: Any, extractor: Any) -> None:
        self._model = model
        self._extractor = extractor

    @classmethod
    def take_from(cls, pipe: Any) -> "PipelineChecker | None":
        """The pipeline's checker, which the pipeline then no longer has; None where it has none."""
        model = getattr(pipe, "safety_checker", None)
        extractor = getattr(pipe, "feature_extractor", None)
        if model is None or extractor is None:
            return None
        pipe.register_modules(safety_checker=None)
        pipe.register_to_config(requires_safety_checker=False)
        return cls(model, extractor)

    @torch.inference_mode()
    def __call__(self, picture: Image.Image) -> bool:
        """Whether it objects to an RGB picture; one by one, so that no other picture counts."""
        pixels = self._extractor(images=[picture], return_tensors="pt").pixel_values
        weights = self._model.visual_projection.weight
        # It blacks out what it is given as `images`; an empty stand-in spares the picture.
        _, verdicts = self._model(
            clip_input=pixels.to(weights.device, weights.dtype), images=torch.zeros(1)
        )
        return bool(verdicts[0])
