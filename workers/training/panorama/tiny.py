"""The tiny panorama model: both stages on drawn landscapes, with a savepoint every minute."""

import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch

from workers.nets.panorama.config import TINY
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.training.panorama import trainer
from workers.training.panorama.landscapes import TRAINING
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import Samples
from workers.training.panorama.stages import FINETUNE, RECONSTRUCTION
from workers.training.panorama.trainer import Report, Trainer

PICTURES = TRAINING[:20_000]  # each with many crops
# The small network's gradients through the content transfer are small at first. Feature losses,
# which are least where all content is the same, or decay of weights would end it before it has
# begun; and with much of the adversarial loss the middle becomes grainy.
STAGES = (
    replace(RECONSTRUCTION, epochs=12, features=0.0, adversarial=0.0, weight_decay=0.0),
    replace(FINETUNE, epochs=8, halved_every=2, features=1e-4, adversarial=1e-4, weight_decay=0.0),
)
SAVED_EVERY_S = 60.0
TOLD_EVERY = 100  # batches


def fit(folder: Path, minutes: float, seed: int = 0) -> Generator | None:
    """Train for so long, going on from what the folder holds; None while there is more to do."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * minutes
    torch.manual_seed(seed)
    generator, discriminator = Generator(TINY), Discriminator(TINY)
    for stage in STAGES:
        samples = Samples(Landscapes(PICTURES, TINY.size), stage, seed)
        training = Trainer(generator, discriminator, samples)
        if not _train(training, folder / f"{stage.name}.pt", ends):
            return None
    return generator.eval()


def _train(training: Trainer, file: Path, ends: float) -> bool:
    """Train one stage until its end (True), or that of the time; either way saved."""
    if file.exists():
        training.restore(trainer.read(file))
    saved = time.monotonic()
    reports: list[Report] = []
    for report in training.run():
        reports.append(report)
        if len(reports) == TOLD_EVERY:
            print(told(reports), file=sys.stderr, flush=True)
            reports.clear()
        now = time.monotonic()
        if now >= ends:
            break
        if now - saved > SAVED_EVERY_S:
            trainer.save(training.state(), file)
            saved = now
    trainer.save(training.state(), file)
    return training.done


def told(reports: list[Report]) -> str:
    """A line about some batches: the mean of every loss."""
    found = defaultdict(list)
    for report in reports:
        for name, loss in report.losses.items():
            found[name].append(loss)
    last = reports[-1]
    losses = ", ".join(f"{name} {sum(all_) / len(all_):.5f}" for name, all_ in found.items())
    pace = len(reports) / sum(1 / report.images_per_s for report in reports)
    return (
        f"{last.stage} {last.epoch}:{last.batch + 1}/{last.batches}: {losses}; "
        f"rate {last.rate:g}, {pace:.0f} images/s"
    )
