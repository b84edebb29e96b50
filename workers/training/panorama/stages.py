"""The two stages of training, as published; every value may be replaced."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """How a stage trains. Rates are Adam's.

    Of a batch the first samples are reconstructed: their middle is known. The last `pairs`
    samples take their sides from different pictures.
    """

    name: str
    rate: float  # the generator's
    batch: int
    pairs: int = 0
    epochs: int = 200
    halved_every: int | None = None  # epochs after which the rates are halved, again and again
    discriminator_share: float = 0.1  # of the generator's rate
    # Weights of the losses beside `pixel`; a loss without one is not computed.
    features: float = 1.0  # of both feature losses
    texture: float = 0.01
    adversarial: float = 0.0018  # of the generator's; without it no discriminator is trained
    gradient: float = 0.0  # not published
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 2e-5

    def rate_at(self, epoch: int) -> float:
        """The generator's rate in an epoch, counted from 0."""
        return self.rate * 0.5 ** (epoch // self.halved_every if self.halved_every else 0)

    @property
    def reconstructed(self) -> int:
        """Samples of a batch whose middle is known."""
        return self.batch - self.pairs


RECONSTRUCTION = Stage("reconstruction", rate=1e-3, batch=20)
FINETUNE = Stage("finetune", rate=2e-3, batch=28, pairs=14, halved_every=50)
