"""VGG16 and VGG19 as feature extractors: the convolutions without the classifier.

Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition",
https://arxiv.org/abs/1409.1556, configurations D and E. Parameters are named as torchvision names
them (`features.N.weight`).
"""

from collections.abc import Sequence

from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512, 512)  # of the convolutions of a block, each ended by a pooling
CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # in a block, by the depth


class Vgg(nn.Module):
    """The layers up to `features[last]`, or all of them; frozen."""

    def __init__(self, depth: int = 16, last: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, count in zip(CHANNELS, CONVOLUTIONS[depth], strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.ModuleList(layers if last is None else layers[: last + 1])
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """What `features[i]` makes of pictures (n, 3, h, w), for each i of the taps, in order.

        Nothing past the last tap is computed.
        """
        found: dict[int, Tensor] = {}
        for index in range(max(taps) + 1):
            layer = self.features[index]
            if index - 1 in found and isinstance(layer, nn.ReLU):
                x = x.clone()  # it would overwrite what was tapped
            x = layer(x)
            if index in taps:
                found[index] = x
        return [found[index] for index in taps]

    def convolutions(self) -> list[int]:
        """The places of the convolutions among the features."""
        return [i for i, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)]
