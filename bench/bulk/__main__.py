"""`python -m bench.bulk`: the whole measurement, kept in bench/results/ and docs/images/; with
smaller sizes a try, which is printed alone."""

import argparse
import sys
from dataclasses import fields

from bench.__main__ import main
from bench.benchmark import report
from bench.bulk import BENCHMARK
from bench.bulk.measures import Sizes, run


def sizes() -> Sizes:
    """As the command line wants them."""
    parser = argparse.ArgumentParser(prog="python -m bench.bulk")
    for size in fields(Sizes):
        parser.add_argument(f"--{size.name}", type=int, default=size.default, metavar="N")
    return Sizes(**vars(parser.parse_args()))


if __name__ == "__main__":
    asked = sizes()
    if asked == Sizes():
        sys.exit(main(["bulk"]))
    print(report(BENCHMARK, list(run(asked))))
