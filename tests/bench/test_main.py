"""Which benchmarks run."""

from bench import __main__ as command
from bench.benchmark import Benchmark, Row
from bench.paired import Comparison

ROW = Row("whole", Comparison((2.0, 2.0), (1.0, 1.0)))


def test_benchmarks_are_found_by_their_files():
    assert {"bulk", "composite", "composite_gpu"} <= command.benchmarks().keys()


def test_what_cannot_run_here_says_so_and_the_others_run(monkeypatch, capsys, tmp_path):
    known = {
        "away": Benchmark("Away", "", lambda: [], missing=lambda: "no such device"),
        "here": Benchmark("Here", "", lambda: [ROW]),
    }
    kept = []
    monkeypatch.setattr(command, "benchmarks", lambda: known)
    monkeypatch.setattr(command, "keep", lambda name, *_: kept.append(name))

    assert command.main([]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith("away: not run here: no such device\n")
    assert "# Here" in printed
    assert kept == ["here"]


def test_an_unknown_name_is_told(monkeypatch, capsys):
    monkeypatch.setattr(command, "benchmarks", lambda: {"here": Benchmark("", "", lambda: [])})
    assert command.main(["there"]) == 2
    assert capsys.readouterr().err == "no benchmark there; there are here\n"
