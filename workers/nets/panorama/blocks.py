"""What the generator is made of."""

import torch
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky activation below zero


def leaky() -> nn.LeakyReLU:
    """The activation of encoder, content transfer and discriminator; the decoder's is ReLU."""
    return nn.LeakyReLU(SLOPE)


def norm(channels: int) -> nn.InstanceNorm2d:
    """Each channel of each sample by its own mean and variance, in training and evaluation."""
    return nn.InstanceNorm2d(channels, affine=True)


def layers(*modules: nn.Module | None) -> nn.Sequential:
    """The modules in a row, without those that are None."""
    return nn.Sequential(*(module for module in modules if module is not None))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut, and the activation after their sum.

    With `before` it takes so many channels and halves the map, at its 3×3 convolution and by a 1×1
    convolution in its shortcut.
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        activation: nn.Module,
        normed: bool,
        before: int | None = None,
    ) -> None:
        super().__init__()

        def convolution(
            before: int, after: int, side: int, stride: int = 1, active: bool = True
        ) -> nn.Sequential:
            return layers(
                nn.Conv2d(before, after, side, stride, padding=side // 2, bias=False),
                norm(after) if normed else None,
                activation if active else None,
            )

        stride = 2 if before else 1
        self.conv1 = convolution(before or channels, inner, 1)
        self.conv2 = convolution(inner, inner, 3, stride)
        self.conv3 = convolution(inner, channels, 1, active=False)
        self.shortcut_path: nn.Module = nn.Identity()
        if before:
            self.shortcut_path = convolution(before, channels, 1, stride, active=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv3(self.conv2(self.conv1(x))) + self.shortcut_path(x))


class GlobalResidual(nn.Module):
    """Tall and wide convolutions, dilated, in both orders: they spread the sides to the middle."""

    def __init__(self, channels: int, dilation: int, normed: bool) -> None:
        super().__init__()

        def convolution(height: int, width: int, active: bool) -> nn.Sequential:
            padding = (dilation * (height // 2), dilation * (width // 2))
            return layers(
                nn.Conv2d(channels, channels, (height, width), 1, padding, dilation),
                norm(channels) if normed else None,
                nn.ReLU() if active else None,
            )

        self.path1 = nn.Sequential(convolution(3, 1, True), convolution(1, 7, False))
        self.path2 = nn.Sequential(convolution(1, 7, True), convolution(3, 1, False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.path1(x) + self.path2(x))


class SkipConnection(nn.Module):
    """A map of the decoder and one of the encoder, made one, and a residual added.

    Norm and activation are to follow.
    """

    def __init__(self, channels: int, normed: bool) -> None:
        super().__init__()

        def convolution(before: int, after: int, side: int, active: bool) -> nn.Sequential:
            return layers(
                nn.Conv2d(before, after, side, padding=side // 2),
                norm(after) if normed else None,
                nn.ReLU() if active else None,
            )

        half = channels // 2
        self.conv1 = convolution(2 * channels, half, 1, True)
        self.conv2 = convolution(half, half, 3, True)
        self.conv3 = convolution(half, channels, 1, False)

    def forward(self, decoded: Tensor, encoded: Tensor, residual: Tensor) -> Tensor:
        joined = torch.cat([decoded, encoded], 1)
        return self.conv3(self.conv2(self.conv1(joined))) + residual
