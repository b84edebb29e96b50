"""The losses of a training as a picture (SVG) and as a table (CSV).

A row is a batch: {"epoch", "batch": counted from 0, "rate", and each loss by its name}. Equal rows
give equal bytes.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, float]

PLACE = ("epoch", "batch", "rate")  # what is no loss
POINTS = 400  # of a curve at most; each is the mean of as many batches
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "imagemill",  # or else the names of the SVG's parts are drawn by chance
    "svg.fonttype": "none",  # letters as text, which keeps the file small
    "font.size": 9,
}


def table(rows: Sequence[Row]) -> bytes:
    """A CSV with a line for each batch; a loss that a batch does not have is left empty."""
    losses = _losses(rows)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*PLACE, *losses])
    for row in rows:
        place = round(row["epoch"]), round(row["batch"]), row["rate"]
        lines.writerow([*place, *(row.get(loss, "") for loss in losses)])
    return text.getvalue().encode()


def plot(rows: Sequence[Row]) -> bytes:
    """An SVG with a logarithmic plot of every loss that is above 0."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for loss in _losses(rows):
            points = [(number, row[loss]) for number, row in enumerate(rows, 1) if loss in row]
            numbers, values = np.array(_thinned(points)).T
            if (values > 0).any():
                axes.plot(numbers, values, label=loss.replace("_", " "), linewidth=1.2, marker=".")
        if axes.lines:
            axes.set_yscale("log")
            axes.legend()
        axes.set_xlabel("batch")
        axes.set_ylabel("loss of a sample")
        axes.grid(alpha=0.3)
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        return svg.getvalue()


def _thinned(points: Sequence[tuple[int, float]]) -> list[Any]:
    parts = np.array_split(np.array(points), min(POINTS, len(points)))
    return [part.mean(0) for part in parts]


def _losses(rows: Sequence[Row]) -> list[str]:
    """The losses of all batches, each once."""
    names = (name for row in rows for name in row)
    return [name for name in dict.fromkeys(names) if name not in PLACE]
