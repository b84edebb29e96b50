"""What is written about a measurement."""

import json

from bench.benchmark import Benchmark, Fact, Row, keep
from bench.paired import Comparison

ROWS = [
    Row("small, whole", Comparison((2.0, 4.0, 6.0), (1.0, 2.0, 2.0)), 1.8, "equal"),
    Row("first part only", Comparison((0.5, 0.5), (0.25, 0.5))),
]


def test_a_page_and_every_single_time_are_kept(tmp_path):
    keep("sums", Benchmark("Sums", "In one go.", lambda: ROWS), ROWS, tmp_path / "results")

    lines = (tmp_path / "results" / "sums.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert lines[:3] == ["# Sums", "", "In one go."]
    assert table[2] == ["small, whole", "≥ 1.8 ×", "2.00 ×", "2.00–2.50", "4 s", "2 s", "equal"]
    assert table[3] == ["first part only", "", "1.33 ×", "1.25–1.75", "0.5 s", "0.375 s", ""]
    assert "torch" in lines[-1]

    record = json.loads((tmp_path / "results" / "sums.json").read_text())
    assert record["rows"][0]["comparison"] == {"plain": [2, 4, 6], "ours": [1, 2, 2]}
    assert record["rows"][0]["speedup"] == 2
    assert record["machine"]["cores"].isdigit()


def test_what_is_no_ratio_has_a_table_of_its_own(tmp_path):
    found = [*ROWS, Fact("memory", "≤ 60 MB", "12.5 MB")]
    keep("sums", Benchmark("Sums", "In one go.", lambda: found), found, tmp_path)

    lines = (tmp_path / "sums.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert table[-1] == ["memory", "≤ 60 MB", "12.5 MB"]
    assert len(table[2]) > 3
    record = json.loads((tmp_path / "sums.json").read_text())
    assert record["facts"] == [{"what": "memory", "asked": "≤ 60 MB", "measured": "12.5 MB"}]
    assert len(record["rows"]) == len(ROWS)
