"""Batches beside a plain DataLoader loop, and what 100,000 items cost: `python -m bench.bulk`."""

from bench.benchmark import Benchmark
from bench.bulk.measures import Sizes, run

BENCHMARK = Benchmark(
    "Batches, beside a plain DataLoader loop",
    "Seconds from the request for a batch of captions to its end, on the embedded stack: index,\n"
    "model, results joined. The plain way (bench/bulk/plain.py) is a DataLoader over the same\n"
    "pictures in the same S3, in one process with the same model code and batch class, which\n"
    "writes its results to the same S3, 64 lines an object; of several numbers of its workers and\n"
    "of torch's threads it has the fastest. Both give equal captions, in every run. *Tiny* is the\n"
    "captioner of that name; the *device* takes the same time for every batch and leaves the\n"
    "processors alone, as a GPU does. *Busy* is the time within calls of the model, by the time\n"
    "of the whole batch. The 100,000 lines are texts for a translator that takes no time.",
    lambda: run(Sizes()),
)
