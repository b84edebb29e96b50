"""The sizes of the networks: as published, and a small one."""

from dataclasses import dataclass

COARSEST = 4  # pixels a side of the map at the encoder's end
PLAIN = 2  # the stages below it are a single convolution, without blocks
NORMED = 3  # the stages below it have no norms
WIDEST_DILATION = 4


@dataclass(frozen=True)
class Config:
    """Sizes of a generator and its discriminator. Raises ValueError where they do not fit.

    A stage of the encoder halves the map, and the decoder's stage of the same number doubles it
    again. Stages count from 0, the one at the picture.
    """

    size: int = 256  # pixels a side of each picture
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 1024)  # channels after encoder stage 0, 1…
    encoder_blocks: tuple[int, ...] = (2, 3, 3, 4)  # with identity, in stage 2, 3…
    decoder_blocks: tuple[int, ...] = (4, 3, 3, 2)
    content: int = 512  # channels of what is passed from one picture to the other
    critic: tuple[int, ...] = (64, 128, 256, 512)  # channels of the discriminator's convolutions
    skips: tuple[int, ...] = (0, 1, 2, 3, 4)  # stages whose encoder map goes to the decoder
    attention: tuple[int, ...] = (1,)  # of these, the stages where it goes to the middle too

    def __post_init__(self) -> None:
        blocks = {len(self.encoder_blocks), len(self.decoder_blocks)}
        if len(self.widths) <= PLAIN or blocks != {len(self.widths) - PLAIN}:
            raise ValueError(f"blocks {blocks} do not fit {len(self.widths)} widths")
        if self.size != COARSEST << len(self.widths):
            raise ValueError(f"{len(self.widths)} stages do not take {self.size} pixels")
        if self.size % (1 << len(self.critic)):
            raise ValueError(f"{len(self.critic)} halvings do not take {self.size} pixels")
        if not set(self.attention) <= set(self.skips) <= set(range(self.top)):
            raise ValueError(f"skips {self.skips} and attention {self.attention} are not in order")

    @property
    def top(self) -> int:
        """The last stage, of the coarsest map."""
        return len(self.widths) - 1

    def inner(self, stage: int) -> int:
        """Channels within a block of the stage."""
        return self.widths[stage - 1] // 2

    def dilation(self, stage: int) -> int:
        """Of the decoder's wide convolutions at the stage; it grows from 1 as the map does."""
        return int(min(WIDEST_DILATION, 1 << (self.top - stage)))


FULL = Config()  # as published
TINY = Config(
    size=64,
    widths=(16, 32, 64, 96),
    encoder_blocks=(2, 3),
    decoder_blocks=(4, 2),
    content=32,
    critic=(16, 32, 64, 128),
    skips=(0, 1, 2),
)
