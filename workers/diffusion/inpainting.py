"""Masks: which pixels are redrawn, and that all others stay."""

from PIL import Image


def redrawn(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask of any mode and size → "L" of `size` (width, height): 255 redraw, 0 keep.

    What is brighter than the middle is redrawn: a pipeline knows no degrees either.
    """
    grey = mask.convert("L").resize(size, Image.Resampling.BILINEAR)
    return grey.point(lambda value: 255 if value > 127 else 0)


def paste(drawn: Image.Image, kept: Image.Image, mask: Image.Image) -> Image.Image:
    """`drawn` where the mask is 255, and the very pixels of `kept` where it is 0.

    The autoencoder changes every pixel a little, also where nothing was redrawn.
    """
    return Image.composite(drawn, kept, mask)
