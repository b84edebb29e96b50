"""Blending without a network: a soft paste, and Poisson blending.

Both take a source (RGB) and its mask (L, 0 to 255) of one size, a target (RGB), and the row and
column of the target at which the source's first pixel lies; the source lies wholly inside. Both
return an RGB picture of the target's size.
"""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse.linalg import splu

Floats = NDArray[np.float64]

NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))  # (rows, columns)


def alpha(
    source: Image.Image, mask: Image.Image, target: Image.Image, top: int, left: int
) -> Image.Image:
    """The source laid over the target, as opaque as its mask says."""
    result = target.copy()
    result.paste(source, (left, top), mask)
    return result


def poisson(
    source: Image.Image, mask: Image.Image, target: Image.Image, top: int, left: int
) -> Image.Image:
    """The target with the source's gradients where the mask is not 0 (Pérez, Gangnet, Blake:
    "Poisson Image Editing", SIGGRAPH 2003, https://doi.org/10.1145/882262.882269).

    The discrete equation, solved exactly for each colour. (OpenCV's `seamlessClone` solves
    another one: it makes the mask three pixels smaller and also redraws the target around it.)
    Beyond its own edge the source counts as going on evenly. A mask over the whole target leaves
    nothing of it to blend with: the result is the source.
    """
    region = np.zeros((target.height, target.width), bool)
    region[top : top + mask.height, left : left + mask.width] = np.asarray(mask) > 0
    if not region.any():
        return target.copy()
    if region.all():
        return source.copy()
    reach = (top, target.height - top - source.height), (left, target.width - left - source.width)
    guide = np.pad(np.asarray(source, np.float64), (*reach, (0, 0)), mode="edge")
    matrix, wanted = _equation(region, guide, np.asarray(target, np.float64))
    # Symmetric and positive definite: any pivot will do, so the order may be the sparsest.
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    canvas = np.asarray(target).copy()
    canvas[region] = np.clip(np.rint(factors.solve(wanted)), 0, 255)
    return Image.fromarray(canvas)


def _equation(
    region: NDArray[np.bool_], guide: Floats, target: Floats
) -> tuple[scipy.sparse.csc_matrix, Floats]:
    """The matrix and the right-hand side (pixels, 3) for the pixels of the region, row by row.

    For each pixel p, summed over its neighbours q in the picture: f(p) - f(q) = g(p) - g(q), f
    being the result, or the target outside the region, and g the guide.
    """
    rows, columns = np.nonzero(region)
    count = len(rows)
    number = np.full(region.shape, -1)
    number[rows, columns] = np.arange(count)
    neighbours = np.zeros(count)
    wanted = np.zeros((count, 3))
    pairs = []
    for down, right in NEIGHBOURS:
        row, column = rows + down, columns + right
        (exists,) = np.nonzero(
            (row >= 0) & (row < region.shape[0]) & (column >= 0) & (column < region.shape[1])
        )
        row, column = row[exists], column[exists]
        neighbours[exists] += 1
        wanted[exists] += guide[rows[exists], columns[exists]] - guide[row, column]
        inside = region[row, column]
        wanted[exists[~inside]] += target[row[~inside], column[~inside]]
        pairs.append((exists[inside], number[row[inside], column[inside]]))
    first, second = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    links = scipy.sparse.csc_matrix((np.ones(len(first)), (first, second)), (count, count))
    return (scipy.sparse.diags(neighbours) - links).tocsc(), wanted
