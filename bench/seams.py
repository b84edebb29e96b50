"""How well a composite keeps the gradients that a blending wants, at the seam."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

REACH = 2  # pixels on either side of the mask's border
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def seam_error(
    composite: Image.Image,
    source: Image.Image,
    mask: Image.Image,
    target: Image.Image,
    top: int,
    left: int,
) -> float:
    """The mean absolute difference between the composite's gradients and the wanted ones.

    In levels of 0 to 255, over the three colours and all pairs of neighbours that lie within two
    pixels of the mask's border. Where one of the two is inside the mask (not 0), the source's
    difference is wanted (beyond its edge the source goes on evenly), else the target's: what
    Poisson blending takes for its guide. The source and its mask (L) lie at (top, left) of the
    target. Raises ValueError where the mask has no border within the target.
    """
    reach = (top, target.height - top - source.height), (left, target.width - left - source.width)
    region = np.pad(np.asarray(mask) > 0, reach)
    band = binary_dilation(region, CROSS, REACH)
    band &= ~binary_erosion(region, CROSS, REACH, border_value=1)
    if not band.any():
        raise ValueError("the mask is empty or covers the whole target: there is no seam")
    guide = np.pad(np.asarray(source, float), (*reach, (0, 0)), mode="edge")
    planes = np.asarray(composite, float), guide, np.asarray(target, float)
    downwards = _errors(region, band, *planes)
    across = _errors(region.T, band.T, *(plane.swapaxes(0, 1) for plane in planes))
    return float(np.concatenate([downwards, across]).mean())


def _errors(region: Flags, band: Flags, composite: Floats, guide: Floats, target: Floats) -> Floats:
    """Of the pairs along the first axis whose both ends lie in the band: (pairs, 3)."""
    inside = (region[1:] | region[:-1])[..., None]
    wanted = np.where(inside, np.diff(guide, axis=0), np.diff(target, axis=0))
    return np.abs(np.diff(composite, axis=0) - wanted)[band[1:] & band[:-1]]
