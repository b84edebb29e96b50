"""What a measurement was made on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")


def machine() -> dict[str, str]:
    """The facts that a measured time depends on, by name."""
    facts = {
        "CPU": cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "Python": platform.python_version(),
        "torch": version("torch"),
    }
    if torch.cuda.is_available():
        facts["GPU"] = torch.cuda.get_device_name()
    return facts


def cpu_model() -> str:
    """The processor's name; only its architecture where the system does not tell more."""
    for line in CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
