"""Bidirectional content transfer: what lies between two pictures, told column by column."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from workers.nets.panorama.blocks import leaky
from workers.nets.panorama.config import COARSEST

LAYERS = 2  # of each LSTM


class Chunks(NamedTuple):
    """A row of three maps, each (n, content, 4, 4): at the left, in the middle, at the right."""

    left: Tensor
    middle: Tensor
    right: Tensor


class ContentTransfer(nn.Module):
    """Goes on from one picture's content towards the other's, from both sides.

    One LSTM reads where the way leads to, and another one, started with what the first one
    remembers, reads where it comes from and then its own predictions.
    """

    def __init__(self, content: int) -> None:
        super().__init__()
        column = content * COARSEST
        self.LSTM_encoder = nn.LSTM(column, column, LAYERS, batch_first=True)
        self.LSTM_decoder = nn.LSTM(column, column, LAYERS, batch_first=True)
        self.output = nn.Sequential(nn.Conv2d(2 * content, content, 1), leaky())

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Chunks, Chunks]:
        """The middle's content, and the chunks that were told from the left and from the right.

        Maps are (n, content, 4, 4).
        """
        middle, end = self._continue(left, right).chunk(2, 3)
        from_left = Chunks(left, middle, end)
        # In a mirror, the way from right to left is one from left to right.
        end, middle = self._continue(right.flip(3), left.flip(3)).flip(3).chunk(2, 3)
        from_right = Chunks(end, middle, right)
        both = torch.cat([from_left.middle, from_right.middle], 1)
        return self.output(both), from_left, from_right

    def _continue(self, start: Tensor, goal: Tensor) -> Tensor:
        """The columns right of `start`, as many as it and `goal` have together."""
        _, state = self.LSTM_encoder(_columns(goal))
        told, state = self.LSTM_decoder(_columns(start), state)
        columns = [told[:, -1:]]
        for _ in range(start.shape[3] + goal.shape[3] - 1):
            told, state = self.LSTM_decoder(columns[-1], state)
            columns.append(told)
        return torch.cat(columns, 1).unflatten(2, start.shape[1:3]).permute(0, 2, 3, 1)


def _columns(x: Tensor) -> Tensor:
    """A map (n, c, h, w) as the sequence of its columns (n, w, c·h)."""
    return x.permute(0, 3, 1, 2).flatten(2)
