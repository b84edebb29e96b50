"""ResNet50 as a feature extractor: everything before the classifier.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition",
https://arxiv.org/abs/1512.03385, as torchvision has it (v1.5: a block's stride is in its 3×3
convolution) and with torchvision's names.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

BLOCKS = {"layer1": (64, 3), "layer2": (128, 4), "layer3": (256, 6), "layer4": (512, 3)}
EXPANSION = 4  # a block's outer channels are so many times its inner ones
TAPS = ("maxpool", *BLOCKS)


class SampleNorm(nn.BatchNorm2d):
    """Batch norm by each sample's own statistics: what training does to a batch of one.

    The variance is the biased one. Running statistics are kept for their names alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut."""

    def __init__(self, before: int, inner: int, stride: int, norm: type[nn.BatchNorm2d]) -> None:
        super().__init__()
        outer = inner * EXPANSION
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = norm(outer)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or before != outer:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, outer, 1, stride, bias=False), norm(outer)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.downsample(x)
        return self.relu(out)


class ResNet50(nn.Module):
    """The stem and the four layers; frozen.

    With `batch_statistics` its norms are as in training mode, each sample by itself, which needs
    pictures of more than 32 pixels a side: the last layer must have more than one value.
    """

    def __init__(self, batch_statistics: bool = False) -> None:
        super().__init__()
        norm = SampleNorm if batch_statistics else nn.BatchNorm2d
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        before = 64
        for name, (inner, count) in BLOCKS.items():
            blocks = nn.Sequential()
            for place in range(count):
                stride = 2 if place == 0 and name != "layer1" else 1
                blocks.append(Bottleneck(before, inner, stride, norm))
                before = inner * EXPANSION
            self.add_module(name, blocks)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor, taps: Sequence[str]) -> list[Tensor]:
        """What these parts make of pictures (n, 3, h, w): some of TAPS, in any order.

        Nothing past the last tap is computed.
        """
        found = {"maxpool": self.maxpool(self.relu(self.bn1(self.conv1(x))))}
        x = found["maxpool"]
        for name in TAPS[1 : 1 + max(TAPS.index(tap) for tap in taps)]:
            found[name] = x = self.get_submodule(name)(x)
        return [found[tap] for tap in taps]
