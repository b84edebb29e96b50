"""Panorama: two pictures → one wide picture, with a generated middle between them.

sample  {"left", "right": RGB PIL.Image, no side of them shorter than the network's size, and for
        the model `trained` "weights": the folder of what a training job made, the same in a batch}
params  full_height (bool)
result  {"image": RGB PIL.Image}: as the network drew it, 3·size×size pixels, of the squares next
        to the middle; or with full_height the whole pictures and between them a square middle, at
        the height of the lower one. An InvalidImage where a picture is too small, or the result
        would have more pixels than MAX_PIXELS.

Lu, Chang, Chiu: "Bridging the Visual Gap: Wide-Range Image Blending", CVPR 2021,
https://arxiv.org/abs/2103.15149. A checkpoint is a folder with `model.safetensors` and, unless it
has the published size (256), `config.json`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared.errors import InvalidImage
from shared.kind import Size
from shared.kinds.panorama import unfit
from shared.models import TRAINED
from shared.settings import load_settings
from workers.dtypes import dtype_of
from workers.nets.panorama.checkpoint import load
from workers.nets.panorama.generator import Generator
from workers.panorama.stitching import Side, between, middle_of, picture_of, square
from workers.predictor import Batch, Checkpoint, Predictor, Result, StepMonitor

SIDES: tuple[Side, Side] = ("left", "right")


class Panorama(Predictor):
    """Computes in fp32, on a GPU too, unless the registry's `dtype` says otherwise."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._checkpoints: dict[str, Checkpoint] = {}
        self._models: dict[str, Generator] = {}
        self._max_pixels = load_settings().max_pixels

    def load(self, checkpoint: Checkpoint) -> None:
        self._checkpoints[checkpoint.model] = checkpoint
        if checkpoint.model != TRAINED:
            self._models[checkpoint.model] = self._read(checkpoint)

    def unload(self, model: str) -> None:
        self._checkpoints.pop(model, None)
        self._models.pop(model, None)

    def _read(self, checkpoint: Checkpoint) -> Generator:
        settings = {"dtype": "float32", **checkpoint.settings}
        dtype = dtype_of(replace(checkpoint, settings=settings), self.device)
        return load(Generator, checkpoint.path).to(self.device, dtype)

    def _hold_trained(self, folder: Path) -> None:
        """Have the trained model in the folder loaded, in place of the last one."""
        checkpoint = self._checkpoints[TRAINED]
        if TRAINED not in self._models or checkpoint.path != folder:
            self._models.pop(TRAINED, None)
            self._checkpoints[TRAINED] = replace(checkpoint, path=folder)
            self._models[TRAINED] = self._read(self._checkpoints[TRAINED])

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        if batch.model == TRAINED:
            self._hold_trained(batch.samples[0]["weights"])
        seen = [self._seen(batch, sample) for sample in batch.samples]
        usable = [squares for squares in seen if not isinstance(squares, InvalidImage)]
        drawn = iter(self._draw(replace(batch, samples=usable)) if usable else ())
        results: list[Result] = []
        for sample, squares in zip(batch.samples, seen, strict=True):
            if isinstance(squares, InvalidImage):
                results.append(squares)
            elif batch.params["full_height"]:
                middle = middle_of(next(drawn), squares["left"], squares["right"])
                results.append({"image": between(sample["left"], middle, sample["right"])})
            else:
                results.append({"image": picture_of(next(drawn))})
            if not monitor.step(len(results), len(seen), f"panorama {len(results)} of {len(seen)}"):
                return []
        return results

    def _seen(
        self, batch: Batch, sample: Mapping[str, Any]
    ) -> Mapping[str, Image.Image] | InvalidImage:
        """What the network sees of a sample's pictures, or why it cannot take them."""
        size, whole = self._models[batch.model].config.size, batch.params["full_height"]
        sizes: dict[str, Size] = {side: sample[side].size for side in SIDES}
        wrong = unfit(sizes, size, whole, self._max_pixels)
        if wrong:
            return InvalidImage("; ".join(f"{name}: {text}" for name, text in wrong.items()))
        return {side: square(sample[side], side, size, whole) for side in SIDES}

    @torch.inference_mode()
    def _draw(self, batch: Batch) -> np.ndarray:
        """What the network draws of squares: (n, size, 3·size, 3), float32 from 0 to 255."""
        network, padded = self._models[batch.model], batch.padded
        left, right = (self._tensor([squares[side] for squares in padded]) for side in SIDES)
        dtype = next(network.parameters()).dtype
        image = network(left.to(dtype), right.to(dtype)).image[: len(batch.samples)]
        return (image.float().permute(0, 2, 3, 1) * 255).cpu().numpy()

    def _tensor(self, pictures: Sequence[Image.Image]) -> Tensor:
        """(n, 3, size, size), float32 in [0, 1]."""
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
        return pixels.to(self.device).permute(0, 3, 1, 2).float() / 255


PREDICTOR = Panorama
