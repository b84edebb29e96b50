"""Watching a pipeline denoise. Shared by families and cascades, and free of torch itself."""

import inspect
from types import SimpleNamespace
from typing import Any

from workers.predictor import StepMonitor


class Watch:
    """The pipeline's callback after every denoising step: reports it, stops when canceled.

    `number` of `parts` tells which part of the whole batch is drawn: each part gets an equal
    share of the progress, whatever its own number of steps.
    """

    def __init__(self, monitor: StepMonitor, number: int = 0, parts: int = 1) -> None:
        self._monitor = monitor
        self._number = number
        self._parts = parts
        self._done = 0
        self.canceled = False

    def __call__(
        self, pipe: Any, step: int, timestep: Any, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        self._done += 1
        total = max(self._done, getattr(pipe, "num_timesteps", 0))
        message = f"step {self._done} of {total}"
        done = self._number * total + self._done
        if not self._monitor.step(done, self._parts * total, message):
            self.canceled = pipe._interrupt = True
        return arguments


class Canceled(Exception):
    """Ends a pipeline in the middle, where it knows no other way."""


def callback(pipe: Any, watch: Watch) -> dict[str, Any]:
    """The argument that has a pipeline report to `watch`.

    An older pipeline, such as PixArt's, has a callback that cannot stop it but by raising
    Canceled.
    """
    accepted = inspect.signature(pipe.__call__).parameters
    if "callback_on_step_end" in accepted:
        return {"callback_on_step_end": watch}

    def report(step: int, timestep: Any, latents: Any) -> None:
        watch(SimpleNamespace(num_timesteps=len(pipe.scheduler.timesteps)), step, timestep, {})
        if watch.canceled:
            raise Canceled

    return {"callback": report} if "callback" in accepted else {}
