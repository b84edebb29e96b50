"""The classic blendings, against what their definitions say of every pixel."""

import numpy as np
import pytest
from PIL import Image

from workers.compositing.classic import alpha, poisson

SIDE, TOP, LEFT, SOURCE = 20, 5, 6, 9
BOX = slice(TOP, TOP + SOURCE), slice(LEFT, LEFT + SOURCE)


def picture(seed, side, low=0, high=255):
    """Noise, as a picture and as an array of whole numbers."""
    values = np.random.default_rng(seed).integers(low, high + 1, (side, side, 3))
    return Image.fromarray(values.astype(np.uint8)), values


def mask(region):
    return Image.fromarray(np.asarray(region, np.uint8) * 255)


def disc(side=SOURCE):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return x**2 + y**2 < (side / 2.5) ** 2


def test_a_soft_mask_mixes_the_two():
    (source, s), (target, t) = picture(0, SOURCE), picture(1, SIDE)
    opacity = np.tile(np.linspace(0, 255, SOURCE).round().astype(np.uint8), (SOURCE, 1))
    result = np.asarray(alpha(source, Image.fromarray(opacity), target, TOP, LEFT), int)
    share = opacity[..., None] / 255
    assert np.abs(result[BOX] - (s * share + t[BOX] * (1 - share))).max() <= 1
    result[BOX] = t[BOX]
    assert (result == t).all()


def test_poisson_forgets_the_sources_colour():
    target, t = picture(1, SIDE, 60, 200)
    source = Image.fromarray((t[BOX] + [40, -50, 7]).astype(np.uint8))
    result = poisson(source, mask(disc()), target, TOP, LEFT)
    assert (np.asarray(result) == t).all()


def laplace(f):
    return 4 * f[1:-1, 1:-1] - f[:-2, 1:-1] - f[2:, 1:-1] - f[1:-1, :-2] - f[1:-1, 2:]


@pytest.mark.parametrize(
    "region",
    [disc(), np.ones((SOURCE, SOURCE), bool), np.eye(SOURCE, dtype=bool)],
    ids=["disc", "whole source", "single pixels"],
)
def test_poisson_has_the_sources_laplacian_inside_and_the_target_outside(region):
    # Little contrast around the middle, so that nothing is cut off at 0 or 255.
    (source, s), (target, t) = picture(2, SOURCE, 118, 138), picture(3, SIDE, 118, 138)
    result = np.asarray(poisson(source, mask(region), target, TOP, LEFT), float)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[BOX] = region
    assert (result[~inside] == t[~inside]).all()
    error = laplace(result[TOP - 1 : TOP + SOURCE + 1, LEFT - 1 : LEFT + SOURCE + 1]) - laplace(
        np.pad(s, ((1, 1), (1, 1), (0, 0)), mode="edge")
    )
    assert np.abs(error[region]).max() <= 4  # five roundings, by 1/2 each, one of them fourfold


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 11), (11, 0), (11, 11), (3, 11)])
def test_poisson_at_the_targets_edge(top, left):
    """Neighbours beyond the picture have no say: the dense least squares of the same pairs."""
    (source, s), (target, t) = picture(2, SOURCE, 118, 138), picture(3, SIDE, 118, 138)
    place = slice(top, top + SOURCE), slice(left, left + SOURCE)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[place] = True
    numbers = np.cumsum(inside).reshape(SIDE, SIDE) - 1
    guide = np.zeros((SIDE + 2, SIDE + 2, 3))
    guide[top : top + SOURCE + 2, left : left + SOURCE + 2] = np.pad(
        s, ((1, 1), (1, 1), (0, 0)), mode="edge"
    )
    guide = guide[1:-1, 1:-1]
    rows, wanted = [], []
    for y, x in np.argwhere(inside):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < SIDE and 0 <= u < SIDE:
                # Between two pixels of the region each pair stands twice, as it must count.
                row = np.zeros(SOURCE**2)
                weight = 1 if not inside[v, u] else np.sqrt(0.5)
                row[numbers[y, x]] = weight
                step = guide[y, x] - guide[v, u]
                if inside[v, u]:
                    row[numbers[v, u]] = -weight
                else:
                    step = step + t[v, u]
                rows.append(row)
                wanted.append(weight * step)
    best = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    result = np.asarray(poisson(source, mask(np.ones((SOURCE, SOURCE))), target, top, left), int)
    assert np.abs(result[inside] - best).max() <= 0.5 + 1e-6
    assert (result[~inside] == t[~inside]).all()


@pytest.mark.parametrize("blend", [alpha, poisson])
def test_an_empty_mask_leaves_the_target(blend):
    (source, _), (target, t) = picture(0, SOURCE), picture(1, SIDE)
    result = blend(source, mask(np.zeros((SOURCE, SOURCE))), target, TOP, LEFT)
    assert (np.asarray(result) == t).all()
    assert result is not target


@pytest.mark.parametrize("blend", [alpha, poisson])
def test_a_mask_over_the_whole_target_leaves_the_source(blend):
    (source, s), (target, _) = picture(0, SIDE), picture(1, SIDE)
    assert (np.asarray(blend(source, mask(np.ones((SIDE, SIDE))), target, 0, 0)) == s).all()


def test_colours_beyond_the_range_are_cut_off():
    source = Image.fromarray(np.where(disc()[..., None], 255, 0).repeat(3, -1).astype(np.uint8))
    target = Image.new("RGB", (SIDE, SIDE), (250, 250, 250))
    result = np.asarray(poisson(source, mask(np.ones((SOURCE, SOURCE))), target, TOP, LEFT))
    assert result[TOP + SOURCE // 2, LEFT + SOURCE // 2].min() == 255
    assert result.min() > 0
