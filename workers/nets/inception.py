"""The Inception v3 whose pooled features FID is published with.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: "Rethinking the Inception Architecture for Computer
Vision", https://arxiv.org/abs/1512.00567. This one is TensorFlow's of December 2015: its averages
leave out the padding, and the last block pools by the maximum. Parameters have the names of
torchvision, as in the file that pytorch-fid and torch-fidelity load.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

FEATURES, CLASSES = 2048, 1008

Kernel = int | tuple[int, int]  # height and width
Layer = tuple[int] | tuple[int, Kernel] | tuple[int, Kernel, int]  # channels, kernel, stride
Path = Sequence[Mapping[str, Layer]]  # one after another; by name, what stands side by side

ROW, COLUMN = (1, 7), (7, 1)


class Convolution(nn.Sequential):
    """A convolution with its norm and ReLU; with a stride or not `padded` it loses the border."""

    def __init__(
        self, before: int, after: int, kernel: Kernel = 1, stride: int = 1, padded: bool = True
    ) -> None:
        padding = "same" if padded and stride == 1 else 0
        conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        norm = nn.BatchNorm2d(after, eps=1e-3)
        super().__init__(OrderedDict(conv=conv, bn=norm, relu=nn.ReLU(inplace=True)))


class Mixed(nn.Module):
    """Paths from one input, joined by their channels; the last one pools, and may convolve then."""

    def __init__(
        self, before: int, paths: Sequence[Path], pool: nn.Module, pooled: int = 0
    ) -> None:
        super().__init__()
        self._paths = [[list(step) for step in path] for path in paths]
        self.after = pooled or before
        for path in paths:
            channels = before
            for step in path:
                for name, layer in step.items():
                    self.add_module(name, Convolution(channels, *layer))
                channels = sum(layer[0] for layer in step.values())
            self.after += channels
        self.pool = pool
        self.branch_pool = Convolution(before, pooled) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        parts = [self._along(path, x) for path in self._paths]
        return torch.cat([*parts, self.branch_pool(self.pool(x))], 1)

    def _along(self, path: Sequence[Sequence[str]], x: Tensor) -> Tensor:
        for step in path:
            x = torch.cat([self.get_submodule(name)(x) for name in step], 1)
        return x


class Inception(nn.Module):
    """Pictures (n, 3, h, w) in [-1, 1], 299 pixels a side as it was trained → (n, 2048); frozen.

    The classifier `fc` is there for its shape, by which the file is told from other ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.MaxPool_1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = Convolution(64, 80)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.MaxPool_2 = nn.MaxPool2d(3, 2)
        channels = 192
        for name, make, *given in BLOCKS:
            block = make(channels, *given)
            self.add_module(name, block)
            channels = block.after
        self.fc = nn.Linear(FEATURES, CLASSES)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        for name, part in self.named_children():
            if name != "fc":
                x = part(x)
        return x.mean((2, 3))


def chain(name: str, *layers: Layer) -> list[dict[str, Layer]]:
    """Convolutions one after another."""
    if len(layers) == 1:
        return [{name: layers[0]}]
    return [{f"{name}_{number}": layer} for number, layer in enumerate(layers, 1)]


def crossed(name: str) -> dict[str, Layer]:
    """A row and a column side by side."""
    return {f"{name}a": (384, (1, 3)), f"{name}b": (384, (3, 1))}


def average() -> nn.Module:
    return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)


def squares(before: int, pooled: int) -> Mixed:
    paths = [
        chain("branch1x1", (64,)),
        chain("branch5x5", (48,), (64, 5)),
        chain("branch3x3dbl", (64,), (96, 3), (96, 3)),
    ]
    return Mixed(before, paths, average(), pooled)


def first_reduction(before: int) -> Mixed:
    paths = [
        chain("branch3x3", (384, 3, 2)),
        chain("branch3x3dbl", (64,), (96, 3), (96, 3, 2)),
    ]
    return Mixed(before, paths, nn.MaxPool2d(3, 2))


def strips(before: int, inner: int) -> Mixed:
    twice: list[Layer] = [(inner, COLUMN), (inner, ROW), (inner, COLUMN), (192, ROW)]
    paths = [
        chain("branch1x1", (192,)),
        chain("branch7x7", (inner,), (inner, ROW), (192, COLUMN)),
        chain("branch7x7dbl", (inner,), *twice),
    ]
    return Mixed(before, paths, average(), 192)


def second_reduction(before: int) -> Mixed:
    paths = [
        chain("branch3x3", (192,), (320, 3, 2)),
        chain("branch7x7x3", (192,), (192, ROW), (192, COLUMN), (192, 3, 2)),
    ]
    return Mixed(before, paths, nn.MaxPool2d(3, 2))


def crosses(before: int, last: bool) -> Mixed:
    paths: list[Path] = [
        chain("branch1x1", (320,)),
        [{"branch3x3_1": (384,)}, crossed("branch3x3_2")],
        [*chain("branch3x3dbl", (448,), (384, 3)), crossed("branch3x3dbl_3")],
    ]
    return Mixed(before, paths, nn.MaxPool2d(3, 1, padding=1) if last else average(), 192)


BLOCKS = (
    ("Mixed_5b", squares, 32),
    ("Mixed_5c", squares, 64),
    ("Mixed_5d", squares, 64),
    ("Mixed_6a", first_reduction),
    ("Mixed_6b", strips, 128),
    ("Mixed_6c", strips, 160),
    ("Mixed_6d", strips, 160),
    ("Mixed_6e", strips, 192),
    ("Mixed_7a", second_reduction),
    ("Mixed_7b", crosses, False),
    ("Mixed_7c", crosses, True),
)
