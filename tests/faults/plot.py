"""The soak as a picture: jobs done over time, and the faults below."""

from itertools import pairwise
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from shared.contracts import JobStatus
from tests.faults.harm import GROUPS
from tests.faults.soak import SoakResult
from tests.faults.watch import Sample

BIN_S = 5.0
LEAST_S = 1.5  # the shortest fault must be seen


def draw(soak: SoakResult, path: Path) -> None:
    """Write the picture as SVG."""
    times, done = _binned(soak)
    rates = [(b - a) / BIN_S for a, b in pairwise(done)]
    figure = Figure(figsize=(10, 6), layout="constrained")
    jobs, faults = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    bars = jobs.bar(
        times[1:], rates, width=-BIN_S, align="edge", color="#9ecae1", label=f"over {BIN_S:g} s"
    )
    jobs.set_ylabel("jobs ended per second")
    total = jobs.twinx()
    (line,) = total.plot(times, done, color="#08519c", label="all so far")
    total.set_ylabel("jobs ended, all so far")
    total.set_ylim(bottom=0)
    jobs.legend(handles=[bars, line], loc="upper left")
    colours = matplotlib.colormaps["tab10"]
    for row, group in enumerate(GROUPS):
        spans = [
            (fault.began - soak.began, max(LEAST_S, fault.ended - fault.began))
            for fault in soak.faults
            if fault.group == group
        ]
        faults.broken_barh(spans, (row - 0.4, 0.8), facecolors=colours(row))
        for began, _ in spans:
            jobs.axvline(began, color=colours(row), linewidth=0.6, alpha=0.7)
    faults.set_yticks(range(len(GROUPS)), GROUPS)
    faults.invert_yaxis()
    faults.grid(axis="x", alpha=0.3)
    faults.set_xlabel("seconds")
    faults.set_xlim(0, times[-1])
    path.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # smaller, and can be searched
        figure.savefig(path)


def _binned(soak: SoakResult) -> tuple[list[float], list[int]]:
    """Seconds since the beginning, BIN_S apart, and how many jobs had ended by then."""
    times, done = [0.0], [0]
    for sample in soak.watch.samples:
        while sample.at - soak.began >= times[-1] + BIN_S:
            times.append(times[-1] + BIN_S)
            done.append(_ended(sample))
    return times, done


def _ended(sample: Sample) -> int:
    return sum(sample.counters.get(status, 0) for status in JobStatus if status.terminal)
