"""`panorama_training`: train a model that draws what lies between two pictures."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from shared.contracts import (
    DatasetInput,
    FileOutput,
    OutputFolder,
    Produced,
    Sample,
    Step,
    TrainedOutput,
    WeightsInput,
)
from shared.errors import InvalidRequest, TrainingDiverged
from shared.kind import DatasetRef, Kind, KindInput, Seed, Stage
from shared.models import ModelChoice
from shared.trained_models import NAME

MODEL_FILES = ("config.json", "model.safetensors", "discriminator.safetensors")
MEDIA_TYPES = {
    ".json": "application/json",
    ".safetensors": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".csv": "text/csv",
    ".png": "image/png",
}

Rate = Annotated[float, Field(gt=0, le=1)]


class PanoramaTrainingInput(KindInput):
    dataset: DatasetRef
    stage: Literal["reconstruction", "finetune"] = Field(
        default="reconstruction",
        description="First a model learns to reconstruct middles that it is not shown; then, as "
        "`finetune`, to draw some between pictures that do not belong together.",
    )
    start_from: str | None = Field(
        default=None,
        description="A panorama model, registered or trained; absent: new weights, which are for "
        "`reconstruction` only.",
    )
    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")] | None = Field(
        default=None, description="Of the trained model; one is made up where it is absent."
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    batch_size: Annotated[int, Field(ge=2, le=512)] | None = Field(
        default=None, description="Of a finetuning, one half are pairs of different pictures."
    )
    learning_rate: Rate | None = Field(default=None, description="Of the generator.")
    discriminator_share: Rate | None = Field(
        default=None, description="The discriminator's learning rate, as a share of that."
    )
    pairing: Literal["lpips", "random"] = Field(
        default="lpips",
        description="Of different pictures: each with one of the three that are most like it, or "
        "with any other.",
    )
    held_out: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=16, description="Pictures that are not trained on, but shown and measured."
    )
    recompute: bool = Field(default=False, description="Trade time for less memory.")
    seed: Seed | None = None


@dataclass(frozen=True)
class TrainingStage(Stage):
    """Pictures → a trained model, its losses, samples and errors."""

    resumes: ClassVar[bool] = True
    request: PanoramaTrainingInput
    name: str = "train"

    def plan(self, models: ModelChoice) -> Step:
        request = self.request
        models.check_unused("panorama", request.name or "", "/input/name")
        if request.start_from is None and request.stage == "finetune":
            raise InvalidRequest.at("/input/start_from", "a finetuning needs a trained model")
        start = request.start_from and models.named(
            "panorama", request.start_from, "/input/start_from"
        )
        batch = request.batch_size
        return models.step(
            self.name,
            "panorama_trainer",
            request.stage,
            stage=request.stage,
            start_from=start.chosen if start else None,
            epochs=request.epochs,
            batch=batch,
            pairs=batch // 2 if batch and request.stage == "finetune" else None,
            rate=request.learning_rate,
            discriminator_share=request.discriminator_share,
            pairing=request.pairing if request.stage == "finetune" else None,
            held_out=request.held_out,
            recompute=request.recompute,
        )

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        chosen = step.params.get("start_from")
        data = {
            "pictures": DatasetInput(self.request.dataset),
            "folder": OutputFolder(),
            "start_from": WeightsInput.of(chosen) if chosen and chosen["files"] else None,
            "seed": self.request.seed,
        }
        return [Sample(data)]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        [result] = results
        about, name = result["about"], self.request.name
        assert name  # `completed` has made one up
        files = tuple(
            FileOutput(path.name, path, MEDIA_TYPES[path.suffix])
            for path in map(Path, result["files"])
        )
        stopped = result["stopped"]
        return Produced(
            {**about, "trained_model": name},
            files=files,
            trained=TrainedOutput("panorama", name, MODEL_FILES, about),
            failure=stopped
            and TrainingDiverged(f"{stopped}; what it had learned until then is the model {name}"),
        )


class PanoramaTraining(Kind[PanoramaTrainingInput]):
    name = "panorama_training"
    summary = "Train a model that draws what lies between two pictures."
    Input = PanoramaTrainingInput

    def stages(self, request: PanoramaTrainingInput) -> list[Stage]:
        return [TrainingStage(request)]

    def completed(self, request: PanoramaTrainingInput) -> PanoramaTrainingInput:
        """The request with a seed and a name."""
        name = request.name or f"panorama-{secrets.token_hex(4)}"
        return super().completed(request).model_copy(update={"name": name})

    def named_models(self, request: PanoramaTrainingInput) -> Sequence[tuple[str, str]]:
        """What it starts from, and the name that it is to have."""
        names = request.start_from, request.name
        return [("panorama", name) for name in names if name]


KIND = PanoramaTraining()
