"""A program for the tests: trains a little, alone or as one of several, and tells the losses."""

import json
from dataclasses import replace
from itertools import islice

import torch

from workers.nets.panorama.config import TINY
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.training.panorama.distributed import Peers, peers
from workers.training.panorama.pictures import Landscapes
from workers.training.panorama.samples import Samples
from workers.training.panorama.stages import FINETUNE
from workers.training.panorama.trainer import Trainer


def losses(group: Peers) -> list[dict[str, float]]:
    """Of four batches; the first process's weights are everybody's."""
    torch.manual_seed(group.rank)
    networks = Generator(TINY), Discriminator(TINY)
    stage = replace(FINETUNE, batch=4, pairs=2, rate=1e-4)
    pictures = Landscapes(range(10), TINY.size)
    samples = Samples(pictures, stage, rank=group.rank, world=group.world)
    training = Trainer(*networks, samples, peers=group)
    return [dict(report.losses) for report in islice(training.run(), 4)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with peers("cpu") as group:
        print(json.dumps(losses(group)))
