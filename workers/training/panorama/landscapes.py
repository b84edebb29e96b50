"""Drawn landscapes: wide pictures without end, for training and for tests.

A landscape is a pure function of its seed: a sky with its sun and clouds, ridges of mountains
behind each other, then fields or a lake that mirrors what stands above it, and perhaps a row of
trees. Lengths are in heights of the picture, so that a seed shows the same scene at every size.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

TRAINING = range(1_000_000)
HELD_OUT = range(1_000_000, 1_010_000)
"""Seeds; what is measured is measured on scenes that no training saw."""


def _colours(*values: tuple[float, float, float]) -> Array:
    """sRGB in [0, 1] as (n, 3, 1, 1), to be broadcast over pictures (3, h, w)."""
    return np.array(values, np.float32)[..., None, None]


# Times of day: the sky at the zenith and at the horizon, the sun, and what tints the land.
LIGHTS = np.stack(
    [
        _colours(
            (0.22, 0.45, 0.80), (0.75, 0.87, 0.95), (1.00, 0.98, 0.88), (1.00, 1.00, 0.96)
        ),  # noon
        _colours(
            (0.42, 0.48, 0.70), (0.98, 0.80, 0.66), (1.00, 0.90, 0.72), (1.00, 0.86, 0.78)
        ),  # dawn
        _colours(
            (0.24, 0.24, 0.46), (0.95, 0.55, 0.32), (1.00, 0.80, 0.45), (0.82, 0.62, 0.58)
        ),  # dusk
        _colours(
            (0.52, 0.58, 0.64), (0.80, 0.82, 0.84), (0.92, 0.92, 0.92), (0.78, 0.80, 0.82)
        ),  # rain
        _colours(
            (0.03, 0.05, 0.16), (0.16, 0.22, 0.38), (0.90, 0.92, 0.98), (0.30, 0.36, 0.52)
        ),  # night
    ]
)
ROCKS = _colours((0.42, 0.46, 0.52), (0.46, 0.40, 0.36), (0.34, 0.44, 0.40), (0.50, 0.38, 0.32))
FIELDS = _colours((0.36, 0.52, 0.22), (0.62, 0.56, 0.26), (0.48, 0.40, 0.26), (0.82, 0.86, 0.90))
TREES = _colours((0.10, 0.22, 0.14), (0.16, 0.26, 0.10), (0.24, 0.18, 0.10))


@dataclass(frozen=True)
class Scene:
    """What the parts of a landscape share: its pixels' places, its light and its horizon."""

    rng: np.random.Generator
    horizon: float
    x: Array  # (width,)
    y: Array  # (height, 1)
    reach: float  # where x ends
    zenith: Array
    haze: Array  # the sky at the horizon
    sun: Array
    land: Array

    def edge(self, inside: Array) -> Array:
        """Coverage (h, w) of pixels by where `inside`, a distance in heights, is positive."""
        return (inside * len(self.y) + 0.5).clip(0, 1)

    def noise(self, right: float, down: float) -> Array:
        """Fractal noise (h, w), values in [0, 1], of features so wide and high, and finer."""
        total = np.zeros((len(self.y), len(self.x)), np.float32)
        for octave in (1, 2, 4):
            lattice = self.rng.random(
                (int(octave / down) + 2, int(octave * self.reach / right) + 2), np.float32
            )
            rows, columns = lattice.shape
            across = _weights(self.x * (octave / right), columns).T
            total = (
                total + _weights(self.y[:, 0] * (octave / down), rows) @ lattice @ across / octave
            )
        return total / 1.75

    def relief(self, length: float, octaves: int = 4) -> Array:
        """Fractal noise along the horizon (w,), values in [0, 1], of features so long and finer."""
        total = np.zeros_like(self.x)
        for octave in 2 ** np.arange(octaves):
            values = self.rng.random(int(octave * self.reach / length) + 2, np.float32)
            total += _weights(self.x * (octave / length), len(values)) @ values / octave
        return total / (2 - 2.0 ** (1 - octaves))

    def peaks(self, length: float, octaves: int = 3) -> Array:
        """The same with sharp crests."""
        return 1 - abs(2 * self.relief(length, octaves) - 1)


def landscape(seed: int, height: int, width: int) -> Array:
    """The scene of a seed: uint8 (height, width, 3), RGB. A wider picture shows another scene."""
    rng = np.random.default_rng(seed)
    x = (np.arange(width, dtype=np.float32) + 0.5) / height
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
    time, share = rng.integers(len(LIGHTS) - 1), rng.beta(0.5, 0.5)
    light = LIGHTS[time] + np.float32(share) * (LIGHTS[time + 1] - LIGHTS[time])
    scene = Scene(rng, rng.uniform(0.45, 0.68), x, y, width / height, *light)
    picture = _mountains(scene, _sky(scene))
    picture = (_lake if rng.random() < 0.45 else _fields)(scene, picture)
    if rng.random() < 0.5:
        picture = _trees(scene, picture)
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def _sky(scene: Scene) -> Array:
    """From the zenith down to the haze, with the sun and perhaps clouds."""
    rng, x, y = scene.rng, scene.x, scene.y
    depth = (y / scene.horizon).clip(0, 1) ** rng.uniform(0.7, 1.6) + 0 * x
    sky = _over(scene.zenith, scene.haze, depth)
    away = np.hypot(x - rng.uniform(0, scene.reach), y - rng.uniform(0.08, scene.horizon))
    glow = 0.45 * np.exp(-((away / rng.uniform(0.3, 0.9)) ** 2))
    sky = _over(sky, scene.sun, np.maximum(glow, scene.edge(rng.uniform(0.03, 0.06) - away)))
    if rng.random() < 0.7:
        cover = ((scene.noise(rng.uniform(0.7, 1.4), 0.25) - rng.uniform(0.4, 0.6)) * 3).clip(
            0, 0.8
        )
        sky = _over(sky, 0.6 * scene.haze + 0.4 * scene.sun, cover * (1 - depth))
    return sky


def _mountains(scene: Scene, picture: Array) -> Array:
    """Two to four ridges; the farther one is higher and paler. One of their faces is lit."""
    rng, x, y = scene.rng, scene.x, scene.y
    rock = ROCKS[rng.integers(len(ROCKS))] * scene.land
    high, snow, lit = rng.uniform(0.25, 0.7), rng.random() < 0.4, rng.choice([-1, 1])
    for nearness in np.linspace(0.25, 1, rng.integers(2, 5), dtype=np.float32):
        size = high * (1.2 - nearness)
        line = scene.horizon - size * scene.peaks(0.8 * size + 0.4)
        below = y - line
        # Facets run down aslant, as gullies do.
        slope = np.tanh(1.5 * np.gradient(line, x))
        facet = np.arange(len(x)) - lit * 0.4 * len(y) * below
        shade = 1 + 0.35 * lit * slope[facet.clip(0, len(x) - 1).astype(int)]
        body = nearness * rock * shade + (1 - nearness) * scene.haze
        if snow:
            bare = 0.5 * size + 0.2 * (scene.relief(0.4) - 0.5)
            cap = scene.edge(scene.horizon - bare - y)
            body = _over(body, 0.95 * scene.land * (0.6 + 0.4 * shade), cap)
        picture = _over(picture, body, scene.edge(below))
    return picture


def _lake(scene: Scene, picture: Array) -> Array:
    """What stands above the horizon, mirrored, darker, and with waves."""
    height = len(scene.y)
    shore = round(scene.horizon * height)
    depth = np.arange(height - shore)
    rows = (shore - 1 - depth * shore / height).astype(int).clip(0)
    waves = (scene.noise(0.5, 0.04)[shore:] - 0.5) * (depth[:, None] / height)
    water = 0.8 * picture[:, rows] + 0.14 * scene.zenith + 0.3 * waves
    return np.concatenate([picture[:, :shore], water], 1)


def _fields(scene: Scene, picture: Array) -> Array:
    """Hills in three bands, ploughed towards one point on the horizon."""
    rng, x, y = scene.rng, scene.x, scene.y
    far, near = FIELDS[rng.choice(len(FIELDS), 2, replace=False)] * scene.land
    away = (y - scene.horizon).clip(0) + 0.25
    furrows = np.sin(rng.uniform(6, 16) * (x - rng.uniform(0, scene.reach)) / away)
    tone = 1 + 0.14 * furrows + 0.2 * (scene.noise(0.4, 0.08) - 0.5)
    for band in range(3):
        base = scene.horizon + band * (1 - scene.horizon) * 0.3
        line = base - 0.18 * (scene.peaks(1.5, octaves=2) - 0.3)
        colour = far + band / 2 * (near - far)
        picture = _over(picture, colour * tone, scene.edge(y - line))
    return picture


def _trees(scene: Scene, picture: Array) -> Array:
    """A row of firs in groups, as a line of triangles."""
    rng, y = scene.rng, scene.y
    colour = TREES[rng.integers(len(TREES))] * scene.land
    count = rng.poisson(4 * scene.reach) + 1
    places, sizes = rng.uniform(0, scene.reach, count), rng.uniform(0.1, 0.45, count)
    slim = rng.uniform(0.25, 0.45)
    firs = sizes[:, None] * (1 - abs(scene.x - places[:, None]) / (slim * sizes[:, None]))
    foot = rng.uniform(scene.horizon + 0.1, 0.95)
    return _over(
        picture, colour, np.minimum(scene.edge(y - foot + firs.max(0)), scene.edge(foot - y))
    )


def _over(below: Array, above: Array, cover: Array) -> Array:
    """One layer on another (3, h, w), `cover` (h, w) saying where."""
    return below + cover * (above - below)


def _weights(places: Array, size: int) -> Array:
    """How values at 0, 1, …, size − 1 are mixed at each place: (places, size), smoothly."""
    whole = places.astype(int).clip(0, size - 2)
    share = places - whole
    share = share * share * (3 - 2 * share)
    weights = np.zeros((len(places), size), np.float32)
    row = np.arange(len(places))
    weights[row, whole] = 1 - share
    weights[row, whole + 1] = share
    return weights
