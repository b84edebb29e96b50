"""What one sample brings, as pictures and as tensors of values 0 to 255, float32, (1, channels,
height, width)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from shared.errors import InvalidImage
from workers.compositing.losses import laplacian


class Pieces(NamedTuple):
    """A sample's pictures: the source (RGB) and its mask (L) of one size, the target (RGB), and
    the row and column in it at which the source's first pixel lies."""

    source: Image.Image
    mask: Image.Image
    target: Image.Image
    top: int
    left: int

    @classmethod
    def of(cls, sample: Mapping[str, Any]) -> "Pieces":
        """The mask is the mask picture's luminance as far as it is opaque, or how opaque the
        source is. Raises InvalidImage where it shows nothing."""
        source, mask = sample["source"], sample.get("mask")
        if mask is None:
            mask = source.getchannel("A")
            if mask.getextrema()[0] == 255:
                raise InvalidImage("the source is opaque everywhere, and there is no mask")
            source = _with_hidden_colours(source, mask)
        else:
            mask = ImageChops.multiply(mask.convert("L"), mask.getchannel("A"))
        if not mask.getbbox():
            raise InvalidImage("the mask is empty: nothing would be pasted")
        side = source.width
        top, left = ((2 * centre - side) // 2 for centre in (sample["x"], sample["y"]))
        return cls(source.convert("RGB"), mask, sample["target"], top, left)


def _with_hidden_colours(source: Image.Image, alpha: Image.Image) -> Image.Image:
    """A source whose hidden pixels, black otherwise, have the colour of the nearest visible one:
    gradients across the object's edge shall not be those of its cutting out."""
    hidden = np.asarray(alpha) == 0
    if hidden.all():
        return source
    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return Image.fromarray(np.asarray(source.convert("RGB"))[tuple(nearest)])


@dataclass(frozen=True)
class Scene:
    """A source, its mask of 0 and 1, and the target in which its first pixel lies at (top, left).

    `target_full` is the target of a second pass of another size.
    """

    source: Tensor
    mask: Tensor
    target: Tensor
    target_full: Tensor
    top: int
    left: int

    @classmethod
    def of(cls, pieces: Pieces, device: str, target_full: Image.Image | None = None) -> "Scene":
        target = tensor(pieces.target, device)
        return cls(
            source=tensor(pieces.source, device),
            mask=(tensor(pieces.mask, device) > 0).float(),
            target=target,
            target_full=tensor(target_full, device) if target_full else target,
            top=pieces.top,
            left=pieces.left,
        )

    @cached_property
    def region(self) -> Tensor:
        """The mask on the target's canvas."""
        canvas = torch.zeros_like(self.target[:, :1])
        self.crop(canvas).copy_(self.mask)
        return canvas

    @cached_property
    def background(self) -> Tensor:
        """The target outside the mask, 0 inside."""
        return self.target * (1 - self.region)

    @cached_property
    def truth(self) -> Tensor:
        """The Laplacian that a blend should have: the source's inside, the target's outside."""
        canvas = torch.zeros_like(self.target)
        self.crop(canvas).copy_(laplacian(self.source) * self.mask)
        return canvas + laplacian(self.target) * (1 - self.region)

    def crop(self, pictures: Tensor) -> Tensor:
        """The source's square in pictures of the target's size; a view."""
        side = self.source.shape[-1]
        return pictures[:, :, self.top : self.top + side, self.left : self.left + side]

    def blend(self, image: Tensor) -> Tensor:
        """The image inside the mask, the target outside."""
        return image * self.region + self.background


def tensor(picture: Image.Image, device: str) -> Tensor:
    """A picture as (1, channels, height, width)."""
    pixels = torch.from_numpy(np.array(picture)).float()
    return pixels.view(*pixels.shape[:2], -1).permute(2, 0, 1)[None].contiguous().to(device)


def picture(image: Tensor) -> Image.Image:
    """An image (1, 3, h, w) as 8 bits, cut off as the published programs do when they save it."""
    pixels = image[0].clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().cpu().numpy())
