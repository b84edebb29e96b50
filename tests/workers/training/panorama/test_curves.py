"""The losses of a training as a plot and a table."""

import re

from workers.training.panorama import curves
from workers.training.panorama.curves import plot, table

ROWS = [
    {"epoch": 0, "batch": 0, "rate": 0.1, "discriminator": 2.0},
    {"epoch": 0, "batch": 1, "rate": 0.1, "pixel": 0.25, "texture": 0.0},
    {"epoch": 1, "batch": 0, "rate": 0.05, "pixel": 1 / 3, "texture": 0.0},
]


def test_the_table_has_every_batch_and_every_digit() -> None:
    assert table(ROWS).decode().splitlines() == [
        "epoch,batch,rate,discriminator,pixel,texture",
        "0,0,0.1,2.0,,",
        "0,1,0.1,,0.25,0.0",
        "1,0,0.05,,0.3333333333333333,0.0",
    ]


def test_the_plot_has_a_line_for_each_loss_above_0() -> None:
    svg = plot(ROWS).decode()
    assert svg == plot(ROWS).decode()
    assert {"pixel", "discriminator"} <= set(re.findall(r">([a-z]+)</text>", svg))
    assert "texture" not in svg


def test_long_curves_are_thinned() -> None:
    rows = [{"epoch": 0, "batch": n, "rate": 0.1, "pixel": 1.0 + n % 2} for n in range(4000)]
    assert len(plot(rows)) < 2 * len(plot(rows[: curves.POINTS]))
    assert plot([]).startswith(b"<?xml")
