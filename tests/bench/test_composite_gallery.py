"""The gallery: the jobs that it runs, what it scores, and the page that it writes."""

import pytest
from PIL import Image

from bench.composite_gallery import (
    BEGIN,
    COLUMNS,
    END,
    Progress,
    opened,
    replaced,
    section,
    sheet,
)
from deploy.composite_samples import drawn
from workers.compositing.classic import alpha
from workers.compositing.scene import Pieces

SIZE = 40
HARD, _, TRANSPARENT = drawn()


@pytest.fixture(scope="module")
def gallery():
    return opened("hed", SIZE, steps=1)


def test_variants_run_and_are_scored(gallery):
    columns = {name: COLUMNS[name] for name in ("alpha", "poisson", "mended")}
    for sample in (HARD, TRANSPARENT):
        results = gallery.results(sample, columns)
        errors = gallery.errors(sample, results)
        # Poisson's is solved exactly, and is what `mended` starts from, with noise.
        assert 0 < errors["poisson"] < errors["mended"] < errors["alpha"]


def test_every_column_is_shown(gallery):
    results = dict.fromkeys(COLUMNS, HARD.target)
    errors = {column: number + 0.125 for number, column in enumerate(COLUMNS)}
    assert sheet(HARD, results).size == (4 * 256 + 3 * 4, 2 * (256 + 20))
    lines = section(gallery, [HARD], {HARD.name: errors}).splitlines()
    [row] = (line for line in lines if line.startswith(f"| {HARD.name} |"))
    cells = row.strip("|").split("|")[1:]
    assert [float(cell) for cell in cells] == pytest.approx([*errors.values()], abs=0.01)


def test_a_job_is_the_kinds(gallery):
    job = gallery.job(HARD, "alpha")
    assert job.params["variant"] == "alpha"
    [data] = job.samples
    assert data["target"].size == (SIZE, SIZE)
    pasted = alpha(*Pieces.of(data))
    [result] = gallery.predictor.predict(job, Progress("alpha"))
    assert isinstance(result["composite"], Image.Image)
    assert result["composite"].tobytes() == pasted.tobytes()


def test_only_what_stands_between_the_markers_is_replaced():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replaced(page, "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replaced(once, "new") == once
