"""The tiny panorama model: both stages on drawn landscapes and a third one for the seams, with a
savepoint every minute."""

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
RECONSTRUCT = replace(
    RECONSTRUCTION,
    epochs=14,
    halved_every=4,
    features=0.0,
    adversarial=0.0,
    gradient=0.2,
    weight_decay=0.0,
)
FINISH = replace(
    FINETUNE,
    rate=5e-4,
    epochs=8,
    halved_every=2,
    features=1e-4,
    adversarial=1e-4,
    gradient=0.2,
    weight_decay=0.0,
)
# Last and longest, where neighbours differ counts more: the seams are judged by that.
POLISH = replace(
    RECONSTRUCT,
    name="polish",
    rate=1e-3,
    epochs=20,
    halved_every=4,
    gradient=0.5,
    betas=(0.9, 0.999),
)
STAGES = RECONSTRUCT, FINISH, POLISH
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
