"""The models that a model process keeps in memory: loaded on demand, no more than fit."""

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from shared import logs
from shared.errors import ModelNotAvailable, OutOfMemory
from workers.predictor import Checkpoint, Predictor
from workers.resources import exhaustion

GB = 10**9
ROOM = 1.2  # times the weights: for what a batch computes
GPU_SHARE = 0.9  # of its memory
HOST_SHARE = 0.5  # of the machine's, where others live too, and weights may be twice as wide
OnChange = Callable[[tuple[str, ...]], None]

log = logs.get(__name__)


class HeldModels:
    """One family's models on one device; the least recently used makes room for the next.

    `budget` is in bytes. `on_change` is told the held models, the least recently used first.
    """

    def __init__(
        self,
        predictor: Predictor,
        checkpoints: Sequence[Checkpoint],
        budget: float,
        on_change: OnChange = lambda models: None,
    ) -> None:
        self._predictor = predictor
        self._checkpoints = {each.model: each for each in checkpoints}
        self._needed = {each.model: needed_bytes(each) for each in checkpoints}
        self._budget = budget
        self._on_change = on_change
        self._held: list[str] = []  # the least recently used first

    def __contains__(self, model: str) -> bool:
        return model in self._held

    def hold(self, model: str) -> None:
        """Make sure that a model is loaded, and count it as used.

        Raises OutOfMemory with the numbers, ModelNotAvailable, and whatever its `load` raises.
        """
        if model in self._held:
            self._held.remove(model)
            self._held.append(model)
            return
        if model not in self._checkpoints:
            raise ModelNotAvailable(f"this worker does not serve {model}")
        needed = self._needed[model]
        if needed > self._budget:
            raise OutOfMemory(
                f"{model} needs about {in_gb(needed)}, the worker may use {in_gb(self._budget)} "
                "(IMAGEMILL_MEMORY_GB)"
            )
        while needed + sum(self._needed[each] for each in self._held) > self._budget:
            self._drop(self._held[0])
        if not self._load(model):
            # It needs more than was estimated, or others use the device.
            for other in tuple(self._held):
                self._drop(other)
            if not self._load(model):
                free_memory()
                free, total = device_memory(self._predictor.device)
                raise OutOfMemory(
                    f"{model} needs about {in_gb(needed)} and could not be loaded: "
                    f"{in_gb(free)} of {in_gb(total)} are free"
                )
        self._held.append(model)
        self._on_change(tuple(self._held))

    def keep_only(self, model: str) -> bool:
        """Forget every other model; whether there was one."""
        others = [each for each in self._held if each != model]
        for each in others:
            self._drop(each)
        free_memory()
        return bool(others)

    def _load(self, model: str) -> bool:
        """False: there was not enough memory."""
        free_memory()
        try:
            self._predictor.load(self._checkpoints[model])
        except Exception as error:
            if not isinstance(exhaustion(error), OutOfMemory):
                raise
            log.warning("out of memory while loading", model=model, error=str(error))
            return False
        return True

    def _drop(self, model: str) -> None:
        self._held.remove(model)
        self._predictor.unload(model)
        log.info("unloaded", model=model)
        self._on_change(tuple(self._held))


def needed_bytes(checkpoint: Checkpoint) -> float:
    """The memory that a model takes: as registered, else the size of its weights and ROOM."""
    if checkpoint.memory_gb:
        return checkpoint.memory_gb * GB
    folders = (checkpoint.path, *checkpoint.parts)
    return ROOM * sum(file.stat().st_size for path in folders for file in _weights(path))


def _weights(path: Path) -> Iterator[Path]:
    """The files of weights in a folder, `model.bin` being CTranslate2's; or the path itself."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file() and (
            file.suffix in (".safetensors", ".onnx") or file.name == "model.bin"
        ):
            yield file


def budget_bytes(device: str, memory_gb: float) -> float:
    """What a process's models may take together; 0 GB stands for a share of what there is."""
    if memory_gb:
        return memory_gb * GB
    _, total = device_memory(device)
    return total * (GPU_SHARE if device.startswith("cuda") else HOST_SHARE)


def device_memory(device: str) -> tuple[int, int]:
    """Bytes that are free, and all: of the GPU, or of the machine where no torch is loaded.

    0 are free where the system does not tell.
    """
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    available = None
    with suppress(OSError):
        meminfo = Path("/proc/meminfo").read_text()
        available = re.search(r"^MemAvailable: +(\d+) kB$", meminfo, re.MULTILINE)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(available[1]) * 1024 if available else 0, total


def free_memory() -> None:
    """Give back what nothing refers to any more. The family has imported torch, if it uses it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_gb(size: float) -> str:
    return f"{size / GB:.1f} GB"
