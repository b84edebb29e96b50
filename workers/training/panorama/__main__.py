"""Command line: `python -m workers.training.panorama tiny [options]`."""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from workers.nets.panorama import checkpoint
from workers.nets.panorama.generator import Generator
from workers.training.panorama import tiny
from workers.training.panorama.evaluate import fills, generated, measured, sheet
from workers.training.panorama.landscapes import HELD_OUT
from workers.training.panorama.pictures import Landscapes


def main(arguments: list[str] | None = None) -> int:
    """Train the tiny model, and measure it when it is done; 1 where a baseline is better."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    generator = tiny.fit(options.out, options.minutes)
    if generator is None:
        print("not done yet; the same command goes on", file=sys.stderr)
        return 0
    checkpoint.save(generator, options.out / "model", torch.float16)
    generator = checkpoint.load(Generator, options.out / "model")  # what is measured is what ships
    pictures = Landscapes(HELD_OUT[: options.samples], generator.config.size)
    ways = fills(partial(generated, generator))
    sheet(pictures, ways).save(options.out / "sheet.png")
    results = measured(pictures, ways)
    best = {name: min(row[name] for row in results.values()) for name in results["generator"]}
    print(f"{'':12}" + "".join(f"{name:>20}" for name in best))
    for way, row in results.items():
        print(f"{way:12}" + "".join(f"{row[name]:20.5f}" for name in best))
    return 0 if results["full height"] == best else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers.training.panorama",
        description="Train the tiny panorama model on drawn landscapes, and measure it.",
    )
    parser.add_argument("command", choices=("tiny",))
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of savepoints, model and sample sheet")
    add("--minutes", type=float, default=120.0, help="to train at most (%(default)s)")
    add("--threads", type=int, default=1, help="processor threads (%(default)s)")
    add("--samples", type=int, default=500, help="held-out scenes to measure (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
