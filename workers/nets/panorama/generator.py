"""The generator: two pictures in, a panorama out whose middle third is new."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from workers.nets.panorama.attention import borrow
from workers.nets.panorama.blocks import (
    Bottleneck,
    GlobalResidual,
    SkipConnection,
    layers,
    leaky,
    norm,
)
from workers.nets.panorama.config import FULL, NORMED, PLAIN, Config
from workers.nets.panorama.transfer import Chunks, ContentTransfer


class Panorama(NamedTuple):
    """What the generator makes of n pairs; its training looks at all of it."""

    image: Tensor  # (n, 3, size, 3·size), values in [0, 1]
    middle: Tensor  # (n, content, 4, 4): the content between the pictures
    from_left: Chunks  # the left picture's content, and how it goes on
    from_right: Chunks  # how the right picture's content came about, and that content


class Generator(nn.Module):
    """Encoder, content transfer and decoder.

    Every norm is by sample, so that a panorama depends on its two pictures alone. A skip connection
    without attention passes by the middle. What the configured skips leave without use is kept, for
    the names of the published weights, but frozen.
    """

    def __init__(self, config: Config = FULL) -> None:
        super().__init__()
        self.config = config
        self._add_encoder()
        self.BCT = ContentTransfer(config.content)
        self.feature_out = layers(nn.Conv2d(config.content, config.widths[-1], 1), leaky())
        self._add_decoder()

    def forward(self, left: Tensor, right: Tensor) -> Panorama:
        """Pictures are (n, 3, size, size), values in [0, 1]."""
        encoded = self._encode(torch.cat([left, right]))
        middle, from_left, from_right = self.BCT(*self.feature_in(encoded[-1]).chunk(2))
        at_left, at_right = encoded[-1].chunk(2)
        x = torch.cat([at_left, self.feature_out(middle), at_right], 3)
        for stage in reversed(range(len(encoded))):
            if stage in self.config.skips:
                x = self._skip(stage, x, encoded[stage])
            if stage >= PLAIN:
                x = self.get_submodule(f"GRB{stage}")(x)
            x = self.get_submodule(f"decoder_stage{stage}")(x)
        return Panorama(x, middle, from_left, from_right)

    def content(self, pictures: Tensor) -> Tensor:
        """What is transferred of pictures (n, 3, size, size): (n, content, 4, 4)."""
        return self.feature_in(self._encode(pictures)[-1])

    def _encode(self, pictures: Tensor) -> list[Tensor]:
        """The map after each stage, the finest first."""
        x = self.encoder_stage1_conv1(pictures)
        maps = [x, self.encoder_stage1_conv2(x)]
        for stage in range(PLAIN, len(self.config.widths)):
            maps.append(self.get_submodule(f"encoder_stage{stage}")(maps[-1]))
        return maps

    def _skip(self, stage: int, decoded: Tensor, encoded: Tensor) -> Tensor:
        """The decoder's map (n, c, h, 3·w), joined with both pictures' (2n, c, h, w).

        As the published network's values tell, each third is normed by itself, and a middle that
        borrows nothing stays as it is, without another norm and activation.
        """
        left, middle, right = decoded.chunk(3, 3)
        at_left, at_right = encoded.chunk(2)
        side, between, end = map(
            self.get_submodule, (f"SHC{stage}", f"SHC{stage}_mid", f"skip{stage}")
        )
        if stage in self.config.attention:
            sides, at_sides = torch.cat([left, right], 3), torch.cat([at_left, at_right], 3)
            borrowed = borrow(middle, sides, at_sides)
            middle = end(between(middle, borrowed, residual=middle))
        left = end(side(left, at_left, residual=at_left))
        right = end(side(right, at_right, residual=at_right))
        return torch.cat([left, middle, right], 3)

    def _add_encoder(self) -> None:
        first, second = self.config.widths[:PLAIN]
        self.encoder_stage1_conv1 = layers(nn.Conv2d(3, first, 4, 2, 1, bias=False), leaky())
        self.encoder_stage1_conv2 = layers(nn.Conv2d(first, second, 4, 2, 1, bias=False), leaky())
        before = second
        for stage, count in enumerate(self.config.encoder_blocks, PLAIN):
            width, inner = self.config.widths[stage], self.config.inner(stage)
            normed = stage >= NORMED
            blocks = nn.Sequential(Bottleneck(width, inner, leaky(), normed, before))
            blocks.extend(Bottleneck(width, inner, leaky(), normed) for _ in range(count))
            self.add_module(f"encoder_stage{stage}", blocks)
            before = width
        self.feature_in = layers(nn.Conv2d(before, self.config.content, 1), leaky())

    def _add_decoder(self) -> None:
        for stage in reversed(range(len(self.config.widths))):
            if stage < self.config.top:
                self._add_skip(stage)
            if stage >= PLAIN:
                self._add_blocks(stage)
            else:
                self.add_module(f"decoder_stage{stage}", self._doubling(stage))

    def _add_skip(self, stage: int) -> None:
        width, normed = self.config.widths[stage], stage >= NORMED
        side, between = SkipConnection(width, normed), SkipConnection(width, normed)
        end = nn.Sequential(norm(width), nn.ReLU()) if normed else nn.ReLU()
        used = stage in self.config.skips
        self.add_module(f"SHC{stage}", side.requires_grad_(used))
        self.add_module(f"SHC{stage}_mid", between.requires_grad_(stage in self.config.attention))
        self.add_module(f"skip{stage}", end.requires_grad_(used))

    def _add_blocks(self, stage: int) -> None:
        width, inner = self.config.widths[stage], self.config.inner(stage)
        normed = stage >= NORMED
        spreading = GlobalResidual(width, self.config.dilation(stage), normed)
        count = self.config.decoder_blocks[stage - PLAIN]
        blocks = nn.Sequential(*(Bottleneck(width, inner, nn.ReLU(), normed) for _ in range(count)))
        self.add_module(f"GRB{stage}", spreading)
        self.add_module(f"decoder_stage{stage}", blocks.append(self._doubling(stage)))

    def _doubling(self, stage: int) -> nn.Sequential:
        """The end of a decoder's stage: a map of twice the size, at last the picture."""
        before, after = self.config.widths[stage], self.config.widths[stage - 1] if stage else 3
        return layers(
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
            norm(after) if stage >= NORMED else None,
            nn.ReLU() if stage else nn.Sigmoid(),
        )
