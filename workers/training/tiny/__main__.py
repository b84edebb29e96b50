"""Command line: `python -m workers.training.tiny [train | export | evaluate] [options]`."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from workers.training.tiny import (
    autoencoder,
    captioner,
    diffuser,
    evaluate,
    prompts,
    translator,
    vqa,
)
from workers.training.tiny.loop import write_json

FAMILIES = ("captioner", "vqa", "translator", "diffuser")
OUT = Path(__file__).resolve().parents[2] / "checkpoints" / "tiny"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 when a number that is asked for is not reached."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    families = options.families.split(",")
    if unknown := set(families) - set(FAMILIES):
        print(f"no such family: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if options.command == "evaluate":
        results = evaluate.everything(options.out, families, options.samples, device=options.device)
        if options.json:
            write_json(evaluate.as_json(results), options.json)
        return 0 if all(result.reached for result in results) else 1
    # Convolutions picked by timing would differ from run to run.
    torch.use_deterministic_algorithms(True, warn_only=True)
    for family in families:
        if options.command == "train":
            _train(family, options.work_dir, options.seed, options.device)
        _export(family, options.work_dir, options.out, options.seed)
        print(f"{family}: {options.out / family}", file=sys.stderr)
    return 0


def _train(family: str, folder: Path, seed: int, device: str) -> None:
    if family == "captioner":
        captioner.fit(folder, seed, device)
    elif family == "vqa":
        vqa.fit(folder, seed, device)
    elif family == "translator":
        translator.fit(folder, seed, device)
    else:
        autoencoder.fit(folder, seed, device)
        decibels = autoencoder.fidelity(autoencoder.load(folder, seed), seed)
        print(f"autoencoder: {decibels:.1f} dB on fresh renders", file=sys.stderr)
        prompts.fit(folder, seed, device)
        diffuser.fit(folder, seed, device)


def _export(family: str, folder: Path, out: Path, seed: int) -> None:
    modules: dict[str, Any] = {
        "captioner": captioner,
        "vqa": vqa,
        "translator": translator,
        "diffuser": diffuser,
    }
    modules[family].export(folder, out, seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers.training.tiny",
        description="Train the tiny checkpoints, write them out, or measure them.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("train", "export", "evaluate"),
        default="train",
        help="train (and write out), only write out the newest state, or measure; default: train",
    )
    scratch = Path(tempfile.gettempdir()) / "imagemill-tiny"
    add = parser.add_argument
    add("--families", default=",".join(FAMILIES), help="comma-separated; default: all")
    add("--work-dir", type=Path, default=scratch, help="states to go on from (%(default)s)")
    add("--out", type=Path, default=OUT, help="folder of the checkpoints (%(default)s)")
    add("--device", default="cpu", help="cpu or cuda:0 (%(default)s)")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=0, help="processor threads; 0 lets torch choose")
    add("--samples", type=int, default=500, help="evaluate: renders a number (%(default)s)")
    add("--json", type=Path, help="evaluate: also write the numbers here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
