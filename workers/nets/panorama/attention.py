"""Contextual attention: the middle borrows details from the sides.

Yu et al.: "Generative Image Inpainting with Contextual Attention", CVPR 2018,
https://arxiv.org/abs/1801.07892, as the paper uses it in a row of three pictures.

The patch around each place of the middle (a query) is compared with those around all places of the
sides (keys); then the middle is put together from the sides' patches, each by its likeness. No
patch is cut out for it: two patches' product is the sum of two pixels' products as both pixels
move together through their patches, and what is pasted adds up in the same way. The sides' place
(y, x) and the middle's (v, u) have one number in a map (y, x, v, u).
"""

import torch
from torch import Tensor
from torch.nn import functional

STEP = 2  # pixels between two places
COMPARED = 3  # places a side of the patches that are compared
SHARPNESS = 10.0
EPSILON = 1e-4  # added to every square in a key's norm


def borrow(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What to put in place of the queries' map (n, c, h', w'), taken from the values.

    Keys and values are (n, c, h, w); all four sides are even. Likenesses are at least float32,
    under autocast too. Samples follow one another: their maps are so large that on a CPU this takes
    less time than a batch, and memory for one.
    """
    with torch.autocast(queries.device.type, enabled=False):
        return torch.stack([_sample(*each) for each in zip(queries, keys, values, strict=True)])


def _sample(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    coarse = (slice(None), slice(None, None, STEP), slice(None, None, STEP))
    precise = torch.promote_types(queries.dtype, torch.float32)
    weights = _shared(_likeness(queries[coarse].to(precise), keys[coarse].to(precise)))
    return _pasted(weights.to(values.dtype), values)


def _likeness(queries: Tensor, keys: Tensor) -> Tensor:
    """The product of any two places' patches, divided by the norm of the key's: (y, x, v, u)."""
    pixels = keys.flatten(1).T @ queries.flatten(1)
    patches = pixels.view(*keys.shape[1:], *queries.shape[1:])
    for key, query in ((0, 2), (1, 3)):
        patches = _with_moved(patches, key, query, 1, -1)
    squares = functional.avg_pool2d(
        keys.square().sum(0, keepdim=True), COMPARED, 1, padding=COMPARED // 2, divisor_override=1
    )
    norms = (squares + EPSILON * keys.shape[0] * COMPARED**2).sqrt()
    return patches / norms.view(*keys.shape[1:], 1, 1)


def _shared(likeness: Tensor) -> Tensor:
    """The keys' weights for each query, which sum to 1, with the axes turned: (x, y, u, v).

    Likeness is shared with what lies next to both places: first along the rows, where one row
    follows the other, then likewise along the columns.
    """
    y, x, v, u = likeness.shape
    by_rows = _with_moved(likeness.view(y * x, v * u), 0, 1, 1, -1).view(y, x, v, u)
    turned = by_rows.permute(1, 0, 3, 2).reshape(x * y, u * v)
    by_columns = _with_moved(turned, 0, 1, 1, -1)
    return torch.softmax(by_columns * SHARPNESS, 0).view(x, y, u, v)


def _pasted(weights: Tensor, values: Tensor) -> Tensor:
    """The sum of the values' 4×4 patches by their weights, divided by 4: as many patches overlap.

    A patch is a place's own 2×2 pixels and one more on each side. So pixels in even columns get
    something from their own place and from the one before, those in odd columns from their own
    and from the one after; rows are like columns.
    """
    x, y, u, v = weights.shape
    channels = len(values)
    turned = values.mT
    pasted = values.new_empty(channels, u, STEP, v, STEP)
    for column, before in enumerate((1, -1)):
        by_column = _with_moved(weights, 0, 2, before)
        for row, above in enumerate((1, -1)):
            by_both = _with_moved(by_column, 1, 3, above).view(x * y, u * v)
            own = turned[:, column::STEP, row::STEP].flatten(1)
            pasted[:, :, column, :, row] = (own @ by_both).view(channels, u, v)
    return pasted.view(channels, u * STEP, v * STEP).mT / STEP**2


def _with_moved(x: Tensor, key: int, query: int, *steps: int) -> Tensor:
    """x plus x moved by each of the steps (1 or -1) in two dimensions at once; zeros come in."""
    total = x.clone()
    keys, queries = x.shape[key] - 1, x.shape[query] - 1
    for step in steps:
        to, start = max(step, 0), max(-step, 0)
        part = x.narrow(key, start, keys).narrow(query, start, queries)
        total.narrow(key, to, keys).narrow(query, to, queries).add_(part)
    return total
