"""The discriminator, which learns to tell panoramas from photographs."""

from torch import Tensor, nn

from workers.nets.panorama.blocks import layers, leaky
from workers.nets.panorama.config import FULL, Config


class Discriminator(nn.Module):
    """Four convolutions that halve the map each, and one score of the whole.

    All convolutions but the first are normed, each sample by itself.
    """

    def __init__(self, config: Config = FULL) -> None:
        super().__init__()
        self.config = config
        before, side = 3, config.size >> len(config.critic)
        for number, width in enumerate(config.critic, 1):
            normed = nn.InstanceNorm2d(width) if number > 1 else None
            convolution = nn.Conv2d(before, width, 4, 2, padding=1)
            self.add_module(f"conv{number}", layers(convolution, normed, leaky()))
            before = width
        self.output = layers(nn.Linear(before * side * 3 * side, 1))

    def forward(self, panoramas: Tensor) -> Tensor:
        """Scores (n, 1), without bounds, of panoramas (n, 3, size, 3·size) in [0, 1]."""
        *convolutions, output = self.children()
        x = panoramas
        for convolution in convolutions:
            x = convolution(x)
        return output(x.flatten(1))
