"""The panorama's contextual attention beside the plain way to write it down, on a CPU."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from bench.benchmark import Benchmark, Row
from bench.composite import threads
from bench.paired import Seconds, compare
from workers.nets.panorama.attention import borrow

CHANNELS, SIDE = 128, 64  # of a part of the published network's map
TOLERANCE = 1e-10  # in double precision
PROCESS = Path("/proc/self")

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def straightforward(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What `borrow` gives, by cutting out all patches and convolving with them.

    Queries are (n, c, h', w'), keys and values (n, c, h, w).
    """
    samples = zip(queries.split(1), keys.split(1), values.split(1), strict=True)
    return torch.cat([_sample(*sample) for sample in samples])


def _sample(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    queries, keys = (functional.interpolate(x, scale_factor=0.5) for x in (queries, keys))
    channels, h, w = keys.shape[1:]
    i, j = queries.shape[2:]
    compared = functional.unfold(keys, 3, padding=1)[0].T.reshape(h * w, channels, 3, 3)
    pasted = functional.unfold(values, 4, padding=1, stride=2)[0].T.reshape(h * w, channels, 4, 4)
    norms = (compared.square() + 1e-4).sum((1, 2, 3), keepdim=True).sqrt()
    likeness = functional.conv2d(queries, compared / norms, padding=1)
    by_rows = _diagonal(likeness.view(h * w, i * j)).view(h, w, i, j)
    by_columns = _diagonal(by_rows.permute(1, 0, 3, 2).reshape(w * h, j * i)).view(w, h, j, i)
    weights = torch.softmax(by_columns.permute(1, 0, 3, 2).reshape(1, h * w, i, j) * 10, 1)
    return functional.conv_transpose2d(weights, pasted, stride=2, padding=1) / 4


def _diagonal(likeness: Tensor) -> Tensor:
    kernel = torch.eye(3, dtype=likeness.dtype)
    return functional.conv2d(likeness[None, None], kernel[None, None], padding=1)[0, 0]


@dataclass(frozen=True)
class Case:
    """One attention of a batch; in training, with the gradients of all that goes into it."""

    batch: int
    training: bool

    def __str__(self) -> str:
        return f"batch of {self.batch}" + (", with gradients" if self.training else "")

    def parts(self) -> list[Tensor]:
        """Queries, keys and values in [0, 1], the first two small as a network's features are."""
        generator = torch.Generator().manual_seed(self.batch)
        queries, keys, values = (
            torch.rand(self.batch, CHANNELS, SIDE, width, generator=generator)
            for width in (SIDE, 2 * SIDE, 2 * SIDE)
        )
        return [part.requires_grad_(self.training) for part in (queries / 10, keys / 10, values)]


CASES = (Case(1, False), Case(4, False), Case(4, True))


def attend(attention: Attention, case: Case, parts: Sequence[Tensor]) -> Seconds:
    """The time that one attention takes."""
    started = time.perf_counter()
    borrowed = attention(*parts)
    if case.training:
        torch.autograd.grad(borrowed.sum(), parts)
    return {"attention": time.perf_counter() - started}


def peak_mb(attention: Attention, case: Case) -> float:
    """The memory that one attention takes at most beyond its parts, in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_growth_mb, attention, case).result()


def _growth_mb(attention: Attention, case: Case) -> float:
    parts = case.parts()
    with threads(1):
        attend(attention, case, [part[..., :8, :8] for part in parts])  # sets up what stays
        (PROCESS / "clear_refs").write_text("5")  # the peak counts from here
        before = _status_kb("VmRSS")
        attend(attention, case, parts)
        return (_status_kb("VmHWM") - before) / 1e3


def _status_kb(name: str) -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def run() -> Iterator[Row]:
    """Each case; both ways must give the same."""
    for case in CASES:
        parts = case.parts()
        plain, ours = (partial(attend, way, case, parts) for way in (straightforward, borrow))
        precise = [part.detach().double() for part in parts]
        torch.testing.assert_close(
            borrow(*precise), straightforward(*precise), atol=TOLERANCE, rtol=0
        )
        memory = " → ".join(f"{peak_mb(way, case):.0f}" for way in (straightforward, borrow))
        with threads(1):
            comparison = compare(plain, ours)["attention"]
        yield Row(str(case), comparison, note=f"memory {memory} MB")


def missing() -> str | None:
    """Why it cannot be measured here."""
    return None if (PROCESS / "clear_refs").exists() else "Linux tells a process's peak of memory"


BENCHMARK = Benchmark(
    "Contextual attention, beside the plain way",
    f"Seconds at {CHANNELS}×{SIDE}×{SIDE} a part, as in the published generator, by one thread.\n"
    "The plain way cuts out patches and convolves with them sample by sample. In double\n"
    f"precision both agree to {TOLERANCE:g}. Memory is the peak beyond what goes in.",
    run,
    missing,
)
