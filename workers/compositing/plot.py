"""The losses of a blending as a picture (SVG) and as a table (CSV).

Both take the curves of the passes, {"first_pass": [{"evaluation": 1, "style": 0.5, …}, …], …}: a
row for each evaluation, with its number and the value of each term. Equal curves give equal bytes.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

Curves = Mapping[str, Sequence[Mapping[str, float]]]

NUMBER = "evaluation"  # the key of a row that is no term
WORDS = {"first_pass": "first pass", "second_pass": "second pass", "tv": "total variation"}
LINE_WIDTH = 1.2  # points
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "imagemill",  # or else the names of the SVG's parts are drawn by chance
    "svg.fonttype": "none",  # letters as text, which keeps the file small
    "font.size": 9,
}


def loss_plot(curves: Curves) -> bytes:
    """An SVG with a logarithmic plot for each pass, side by side; a term that is 0 has no line.

    The values are of float32's range.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    colours = {term: f"C{number}" for number, term in enumerate(_terms(curves))}
    with rc_context(STYLE):
        figure = Figure(figsize=(5 * len(curves), 4), layout="constrained")
        plots = figure.subplots(1, len(curves), squeeze=False)[0]
        for plot, (name, rows) in zip(plots, curves.items(), strict=True):
            _draw(plot, rows, colours)
            plot.set_title(_words(name))
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        return svg.getvalue()


def loss_table(curves: Curves) -> bytes:
    """A CSV with a line for each evaluation: its pass, its number, and a column for each term.

    A term that a pass does not have is left empty; numbers are written so that reading them
    gives the same float64.
    """
    terms = _terms(curves)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["pass", NUMBER, *terms])
    for name, rows in curves.items():
        for row in rows:
            table.writerow(
                [_words(name), round(row[NUMBER]), *(row.get(term, "") for term in terms)]
            )
    return text.getvalue().encode()


def _draw(plot: Any, rows: Sequence[Mapping[str, float]], colours: Mapping[str, str]) -> None:
    """The terms of one pass into matplotlib's axes."""
    for term, colour in colours.items():
        points = [(row[NUMBER], row[term]) for row in rows if row.get(term, 0) > 0]
        if points:
            # A marker, for one point alone makes no line.
            marker = "." if len(points) == 1 else None
            plot.plot(
                *zip(*points, strict=True),
                color=colour,
                label=_words(term),
                linewidth=LINE_WIDTH,
                marker=marker,
            )
    if plot.lines:
        plot.set_yscale("log")
        plot.legend()
    plot.set_xlabel(NUMBER)
    plot.set_ylabel("loss")
    plot.grid(alpha=0.3)


def _terms(curves: Curves) -> list[str]:
    """The terms of all passes, each once."""
    names = (name for rows in curves.values() for row in rows for name in row)
    return [name for name in dict.fromkeys(names) if name != NUMBER]


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))
