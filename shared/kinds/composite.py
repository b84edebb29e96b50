"""`composite`: paste an object into a picture so that its edges and texture belong there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from shared.contracts import FileOutput, ImageInput, ImageOutput, Produced, Sample, Step
from shared.errors import InvalidRequest
from shared.kind import ImageRef, Kind, KindInput, OptionalImageRef, Seed, Stage
from shared.models import ModelChoice

SMALLEST, LARGEST = 8, 2048  # pixels a side; the optimiser's memory grows with the square
SMALLEST_SEED = 33  # a ResNet's last features of fewer are one pixel, which has no statistics
PAPER_SIZE = 512  # of the paper's second pass, whatever the first one's is
CLASSIC = ("poisson", "alpha")  # variants without a network, and so without a process to show
MEDIA_TYPES = {
    "process.mp4": "video/mp4",
    "losses.svg": "image/svg+xml",
    "losses.csv": "text/csv",
}

Variant = Literal["mended", "paper", "seed", "poisson", "alpha"]
Pixels = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]
Place = Annotated[int, Field(ge=0, le=LARGEST)]


class CompositeInput(KindInput):
    source: ImageRef
    mask: OptionalImageRef = Field(
        default=None, description="White where the object is; absent: the source's alpha."
    )
    target: ImageRef
    source_size: Pixels = Field(
        default=300,
        description="Pixels a side of the pasted square; one larger than the target is made as "
        "large as its place allows.",
    )
    target_size: Pixels = Field(default=512, description="Pixels a side of the result.")
    x: Place = Field(default=200, description="The row of the square's centre in the target.")
    y: Place = Field(default=235, description="The column of the square's centre in the target.")
    variant: Variant = Field(
        default="mended", description="`poisson` and `alpha` take neither steps nor video."
    )
    steps: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1000, description="Evaluations of the losses in each of the two passes."
    )
    video: bool = Field(default=False, description="Record every evaluation in process.mp4.")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        default="fp32",
        description="Of the networks; losses and optimiser stay fp32. tf32 is for NVIDIA GPUs.",
    )
    seed: Seed | None = None


@dataclass(frozen=True)
class CompositeStage(Stage):
    """Object, mask and target → the pictures of both passes, or of a classic variant the one."""

    resumes: ClassVar[bool] = True
    request: CompositeInput
    name: str = "composite"

    def plan(self, models: ModelChoice) -> Step:
        request = self.request
        if request.variant == "seed" and request.target_size < SMALLEST_SEED:
            detail = f"the variant seed needs at least {SMALLEST_SEED}"
            raise InvalidRequest.at("/input/target_size", detail)
        params: dict[str, Any] = {
            "variant": request.variant,
            "source_size": self.source_size(),
            "target_size": request.target_size,
        }
        if request.variant not in CLASSIC:
            params |= request.model_dump(include={"steps", "video", "precision"})
        return models.step(self.name, "compositor", **params)

    def source_size(self) -> int:
        """The side of the pasted square in pixels.

        Raises InvalidRequest with the permitted range where it would reach out of the target.
        """
        request = self.request
        size, target = request.source_size, request.target_size
        centre = {"x": request.x, "y": request.y}
        if size > target:
            room = min(min(at, target - at) for at in centre.values())
            size = max(SMALLEST, 2 * room)
        first, last = -(-size // 2), target - size // 2
        wrong = {
            f"/input/{name}": f"a source of {size} pixels centred at {at} reaches out of the "
            f"target of {target}; permitted is {first} to {last}"
            for name, at in centre.items()
            if not first <= at <= last
        }
        if wrong:
            raise InvalidRequest.at_each(wrong)
        return size

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        request = self.request
        source_size = (step.params["source_size"],) * 2
        mask = request.mask and ImageInput(request.mask, source_size, alpha=True)
        data = {
            # Under a mask of its own, a source's transparency lies on white as everywhere.
            "source": ImageInput(request.source, source_size, alpha=mask is None),
            "mask": mask,
            "target": ImageInput(request.target, (request.target_size,) * 2),
            "x": request.x,
            "y": request.y,
            "seed": request.seed or 0,
        }
        if request.variant == "paper" and request.target_size != PAPER_SIZE:
            data["target_full"] = ImageInput(request.target, (PAPER_SIZE,) * 2)
        return [Sample(data)]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        [result] = results
        outputs = {name: result[name] for name in ("losses", "networks") if name in result}
        images = tuple(
            ImageOutput(f"{name}.png", result[name], self.request.seed)
            for name in ("first_pass", "second_pass", "composite")
            if name in result
        )
        files = tuple(
            FileOutput(name, data, MEDIA_TYPES[name])
            for name, data in result.get("files", {}).items()
        )
        return Produced(outputs, images, files, self.request.model_dump(include={"x", "y"}))


class Composite(Kind[CompositeInput]):
    name = "composite"
    summary = "Paste an object into a picture so that its edges and texture belong there."
    Input = CompositeInput

    def stages(self, request: CompositeInput) -> list[Stage]:
        return [CompositeStage(request)]


KIND = Composite()
