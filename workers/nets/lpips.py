"""The weights of LPIPS v0.1 for the channels of a VGG16's features, named as in its `vgg.pth`.

Zhang, Isola, Efros, Shechtman, Wang: "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018, https://arxiv.org/abs/1801.03924.
"""

from torch import Tensor, nn

TAPS = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}  # relu1_2 to relu5_3 of VGG16, their channels


class Heads(nn.ModuleDict):
    """How much each channel of the features at each tap counts in the distance; frozen."""

    def __init__(self) -> None:
        heads = {}
        for number, channels in enumerate(TAPS.values()):
            linear = nn.Conv2d(channels, 1, 1, bias=False)
            heads[f"lin{number}"] = nn.ModuleDict({"model": nn.Sequential(nn.Dropout(), linear)})
        super().__init__(heads)
        self.requires_grad_(False).eval()

    def by_tap(self) -> dict[int, Tensor]:
        """The weights (channels,) of each tap."""
        return dict(zip(TAPS, (weight.flatten() for weight in self.parameters()), strict=True))
