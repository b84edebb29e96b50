"""What a batch takes of memory over time, part by part."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib
import psutil
import redis
from matplotlib.figure import Figure

SAMPLE_S = 1.0
MB = 1e6


class Memory:
    """Samples until the block ends; `series` in MB, and `times` in seconds from its beginning."""

    def __init__(self, pids: Mapping[str, int], servers: Mapping[str, str]) -> None:
        """Processes, each with its children, and Redis servers by their addresses."""
        self.times: list[float] = []
        self.series: dict[str, list[float]] = {name: [] for name in (*pids, *servers)}
        self._pids = pids
        self._servers: dict[str, Any] = {n: redis.Redis.from_url(u) for n, u in servers.items()}
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory")

    def __enter__(self) -> "Memory":
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def added(self, *names: str) -> float:
        """What some came to together at most, over what they had at the beginning."""
        sums = [sum(values) for values in zip(*(self.series[n] for n in names), strict=True)]
        return max(sums) - sums[0]

    def growth(self, name: str) -> tuple[float, float]:
        """The highest value of the second fifth of the time, and of the last one."""
        values = self.series[name]
        fifth = max(1, len(values) // 5)
        return max(values[fifth : 2 * fifth]), max(values[-fifth:])

    def draw(self, path: Path) -> None:
        """Write all series as SVG."""
        figure = Figure((8, 4), layout="constrained")
        axes = figure.subplots()
        for name, values in self.series.items():
            axes.plot(self.times, values, label=name, linewidth=1)
        axes.set(xlabel="seconds", ylabel="MB", ylim=(0, None), xlim=(0, self.times[-1]))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False)
        path.parent.mkdir(exist_ok=True)
        with matplotlib.rc_context({"svg.fonttype": "none"}):  # smaller, and can be searched
            figure.savefig(path)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        self.times.append(time.monotonic() - self._began)
        for name, pid in self._pids.items():
            self.series[name].append(resident(pid) / MB)
        for name, server in self._servers.items():
            self.series[name].append(server.info("memory")["used_memory"] / MB)


def resident(pid: int) -> int:
    """Bytes that a process and its children have in memory."""
    process, total = psutil.Process(pid), 0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total
