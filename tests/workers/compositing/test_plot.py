"""The curves of the losses: what stands in the plot and in the table."""

import csv
import io
from xml.etree import ElementTree

import numpy as np
import pytest

from workers.compositing.plot import LINE_WIDTH, loss_plot, loss_table

CURVES = {
    "first_pass": [
        {"evaluation": n, "gradient": 1e4 / n, "style": 0.1 + n, "tv": 3.0} for n in range(1, 31)
    ],
    "second_pass": [{"evaluation": n, "style": 1e7 / n, "content": 0.0} for n in range(1, 9)],
}


def texts(svg):
    root = ElementTree.fromstring(svg)
    return ["".join(part.itertext()).strip() for part in root.iter() if part.tag.endswith("}text")]


def colours(svg):
    """The colour of each curve of the plot, which its width tells from other lines."""
    root = ElementTree.fromstring(svg)
    styles = [part.get("style", "") for part in root.iter() if part.get("clip-path")]
    return [
        style.split("stroke: ")[1].split(";")[0]
        for style in styles
        if f"stroke-width: {LINE_WIDTH}" in style
    ]


def test_the_plot_shows_both_passes_in_words():
    words = texts(loss_plot(CURVES))
    for wanted in ("first pass", "second pass", "gradient", "total variation", "evaluation"):
        assert wanted in words
    assert words.count("style") == 2


def test_a_term_has_one_colour_and_no_line_where_it_is_zero():
    gradient, style, variation, second_style = colours(loss_plot(CURVES))
    assert second_style == style
    assert len({gradient, style, variation}) == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values",
    [[0.0], [0.0, 0.0], [1e-45, 0.0], [0.0, 3e38, 1e-45], [7.0]],
    ids=["zero", "zeros", "tiny", "wide", "one"],
)
def test_values_that_a_logarithm_does_not_like_are_drawn(values):
    rows = [{"evaluation": n, "style": value} for n, value in enumerate(values, 1)]
    words = texts(loss_plot({"first_pass": rows, "second_pass": rows}))
    assert ("style" in words) == any(values)


def test_the_table_gives_back_every_number():
    exact = float(np.float32(0.1))
    curves = {**CURVES, "second_pass": [{"evaluation": 1.0, "style": exact, "content": 0.0}]}
    rows = list(csv.DictReader(io.StringIO(loss_table(curves).decode())))
    assert list(rows[0]) == ["pass", "evaluation", "gradient", "style", "tv", "content"]
    assert len(rows) == 31
    assert [float(row["gradient"]) for row in rows[:30]] == [
        row["gradient"] for row in CURVES["first_pass"]
    ]
    assert rows[30] == {
        "pass": "second pass",
        "evaluation": "1",
        "gradient": "",
        "style": repr(exact),
        "tv": "",
        "content": "0.0",
    }


@pytest.mark.parametrize("make", [loss_plot, loss_table])
def test_equal_curves_give_equal_bytes(make):
    assert make(CURVES) == make(CURVES)
