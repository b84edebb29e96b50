"""One sample's way through the two passes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shared.errors import PredictionFailed
from workers.compositing import scene
from workers.compositing.classic import poisson
from workers.compositing.evaluation import Evaluated
from workers.compositing.lbfgs import Lbfgs
from workers.compositing.plot import loss_plot, loss_table
from workers.compositing.scene import Pieces, Scene
from workers.compositing.variants import VARIANTS
from workers.compositing.video import encode_segment, mux

FIRST, SECOND = "first_pass", "second_pass"


class Run:
    """A sample in a pass, with what came of it so far.

    `curves` are the terms of all evaluations by pass, `pictures` what the passes that ended gave,
    `segments` the video so far, one for each step of L-BFGS: they lie where a run may be put
    aside, so the video is the same wherever that was.
    """

    def __init__(self, sample: Mapping[str, Any], params: Mapping[str, Any], device: str) -> None:
        self.settings = {**params, "seed": sample["seed"]}
        self._pieces = Pieces.of(sample)
        self.scene = Scene.of(self._pieces, device, sample.get("target_full"))
        self.at = FIRST
        self.lbfgs: Lbfgs | None = None  # while a pass is on its way
        self.curves: dict[str, list[dict[str, float]]] = {FIRST: [], SECOND: []}
        self.pictures: dict[str, Image.Image] = {}
        self.segments: list[bytes] = []
        self.failure: PredictionFailed | None = None
        self._frames: list[NDArray[np.uint8]] = []

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do in its pass."""
        return bool(self.failure or (self.lbfgs and self.lbfgs.ended))

    @property
    def point(self) -> torch.Tensor:
        """The image as a vector, which L-BFGS moves in place."""
        assert self.lbfgs
        return self.lbfgs.point

    @point.setter
    def point(self, place: torch.Tensor) -> None:
        assert self.lbfgs
        self.lbfgs.point = place

    @property
    def between_steps(self) -> bool:
        return self.lbfgs is not None and self.lbfgs.between_steps

    @property
    def done(self) -> int:
        """Of the evaluations of both passes; one that a pass did without counts."""
        steps: int = self.settings["steps"]
        if self.failure:
            return 2 * steps
        evaluations = steps if self.ended else len(self.curves[self.at])
        return evaluations + steps * (self.at == SECOND)

    @property
    def message(self) -> str:
        number, steps = len(self.curves[self.at]), self.settings["steps"]
        return f"{self.at.replace('_', ' ')}, evaluation {number} of {steps}"

    @property
    def metrics(self) -> Mapping[str, float]:
        """The terms of the last evaluation."""
        rows = self.curves[self.at] or self.curves[FIRST]
        return rows[-1] if rows else {}

    def begin(self, at: str) -> None:
        """Enter a pass: the first from noise or what the variant has under it, the second from
        the first one's picture."""
        if at == FIRST:
            generator = torch.Generator().manual_seed(self.settings["seed"])
            image = torch.randn(self.scene.target.shape, generator=generator)
            if VARIANTS[self.settings["variant"]].start == "poisson":
                image += scene.tensor(poisson(*self._pieces), "cpu")
        else:
            side = self.scene.target_full.shape[-1]
            image = scene.tensor(resized(self.pictures[FIRST], side), "cpu")
        point = image.to(self.scene.target.device).flatten()
        self.at, self.lbfgs = at, Lbfgs.start(point, self.settings["steps"])

    def tell(self, evaluated: Evaluated) -> None:
        """Go on from what the evaluation at the current image gave."""
        assert self.lbfgs
        row = {"evaluation": float(len(self.curves[self.at]) + 1), **evaluated.terms}
        self.curves[self.at].append(row)
        for term, value in evaluated.terms.items():
            if not math.isfinite(value):
                self.failure = PredictionFailed(f"{self.message}: the {term} loss is {value}")
                return
        if self.settings["video"]:
            self._frames.append(np.asarray(self.picture()))
        self.lbfgs.tell(evaluated.loss, evaluated.gradient.flatten())
        if self._frames and self.between_steps:
            side = self.settings["target_size"]
            self.segments.append(encode_segment(self._frames, (side, side)))
            self._frames.clear()

    def picture(self) -> Image.Image:
        """What has come of the pass so far."""
        if self.lbfgs is None:
            return self.pictures[self.at]
        image = square(self.point)
        return scene.picture(self.scene.blend(image) if self.at == FIRST else image)

    def finish(self) -> None:
        """Leave the pass, which has ended."""
        self.pictures[self.at] = self.picture()
        self.lbfgs = None

    def result(self) -> dict[str, Any]:
        """What the family returns for the sample, but for the networks."""
        files = {"losses.svg": loss_plot(self.curves), "losses.csv": loss_table(self.curves)}
        if self.settings["video"]:
            files["process.mp4"] = mux(self.segments)
        losses = {
            at: {term: value for term, value in rows[-1].items() if term != "evaluation"}
            for at, rows in self.curves.items()
        }
        return {**self.pictures, "files": files, "losses": losses}


def square(point: torch.Tensor) -> torch.Tensor:
    """A vector, or several (n, …), as square images (n, 3, h, w)."""
    side = math.isqrt(point.shape[-1] // 3)
    return point.view(-1, 3, side, side)


def resized(picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), Image.Resampling.BICUBIC)
