"""Runs the benchmarks that are named, or all, and keeps what they measured in bench/results/."""

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import bench
from bench.benchmark import Benchmark, keep, report


def benchmarks() -> dict[str, Benchmark]:
    """Every benchmark by the name of its module."""
    modules = (
        (info.name, importlib.import_module(f"bench.{info.name}"))
        for info in pkgutil.iter_modules(bench.__path__)
        if info.name != "__main__"
    )
    return {name: module.BENCHMARK for name, module in modules if hasattr(module, "BENCHMARK")}


def main(names: Sequence[str]) -> int:
    """Returns the exit status: 0, or 2 where a name is unknown."""
    known = benchmarks()
    if unknown := [name for name in names if name not in known]:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names or known:
        benchmark = known[name]
        if missing := benchmark.missing():
            print(f"{name}: not run here: {missing}\n", flush=True)
            continue
        found = list(benchmark.run())
        keep(name, benchmark, found)
        print(report(benchmark, found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
