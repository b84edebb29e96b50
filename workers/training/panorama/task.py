"""A training as each of its processes begins it; they differ in their rank and device alone."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from shared.errors import InvalidRequest, PredictionFailed
from workers.nets import weights
from workers.nets.panorama import checkpoint
from workers.nets.panorama.config import Config
from workers.nets.panorama.discriminator import Discriminator
from workers.nets.panorama.generator import Generator
from workers.nets.vgg import Vgg
from workers.training.panorama import savepoint
from workers.training.panorama.mrf import Texture
from workers.training.panorama.samples import Samples
from workers.training.panorama.trainer import Trainer

DISCRIMINATOR = "discriminator.safetensors"


@dataclass(frozen=True)
class Task:
    """One stage of a training; its samples say among how many processes a batch is shared out.

    start_from: the folder of a model's files, which perhaps has a discriminator; None: new
    networks, of the samples' seed.
    vgg19: the folder with the weights of the texture loss's network; None leaves that loss out.
    saved: the folder of the savepoint from which it goes on, which is whole; or None.
    """

    config: Config
    samples: Samples
    start_from: Path | None
    vgg19: Path | None
    saved: Path | None
    recompute: bool

    def trainer(self, rank: int, device: str) -> Trainer:
        """The trainer of one process, as it is without the savepoint.

        Raises InvalidRequest where the networks to start from are of another size,
        ModelNotAvailable.
        """
        return Trainer(
            *self._networks(),
            replace(self.samples, rank=rank),
            self._texture(),
            device,
            recompute=self.recompute,
        )

    def take_part(self, rank: int, device: str) -> None:
        """Do one process's part; the first one does its own, and tells what comes of it."""
        training = self.trainer(rank, device)
        if self.saved:
            with TemporaryDirectory() as folder:
                training.restore(savepoint.restore(self.saved, Path(folder)))
        with suppress(PredictionFailed):  # a loss that is no number is so in every process
            for _ in training.run():
                pass

    def _networks(self) -> tuple[Generator, Discriminator]:
        torch.manual_seed(self.samples.seed)
        if self.start_from is None:
            return Generator(self.config), Discriminator(self.config)
        generator = checkpoint.load(Generator, self.start_from)
        if generator.config != self.config:
            raise InvalidRequest(
                f"the model to start from takes pictures of {generator.config.size} pixels, and "
                f"this trains models for {self.config.size}: name another panorama_trainer"
            )
        file = self.start_from / DISCRIMINATOR
        if not file.is_file():
            return generator, Discriminator(self.config)
        return generator, checkpoint.load_file(Discriminator, file, self.config)

    def _texture(self) -> Texture | None:
        if self.vgg19 is None:
            return None
        network = Vgg(19, last=max(Texture.VGG19))
        weights.load(network, self.vgg19)
        return Texture(network, Texture.VGG19)
