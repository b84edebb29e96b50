"""`panorama_evaluation`: how good the middles are that a panorama model draws."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from shared.contracts import (
    DatasetInput,
    FileOutput,
    ImageOutput,
    Produced,
    Sample,
    Step,
    WeightsInput,
)
from shared.kind import DatasetRef, Kind, KindInput, Seed, Stage
from shared.models import ModelChoice


class PanoramaEvaluationInput(KindInput):
    dataset: DatasetRef
    both_orders: bool = Field(
        default=True, description="Draw what lies between right and left of each pair too."
    )
    pairing: Literal["lpips", "random"] = Field(
        default="lpips",
        description="Of different pictures: the centre of each with that of one of the three that "
        "are most like it; or a random part of each with one of any other.",
    )
    seed: Seed | None = None


@dataclass(frozen=True)
class EvaluationStage(Stage):
    """Pictures → FID and KID of what the job's `panorama` model draws between two of them, and
    the errors of the middles that it restores."""

    request: PanoramaEvaluationInput
    name: str = "evaluate"

    def plan(self, models: ModelChoice) -> Step:
        return models.step(
            self.name,
            "panorama_trainer",
            stage="evaluation",
            generator=models.model("panorama").chosen,
            both_orders=self.request.both_orders,
            pairing=self.request.pairing,
        )

    def samples(self, step: Step, outputs: Mapping[str, Any]) -> Sequence[Sample]:
        chosen = step.params["generator"]
        data = {
            "pictures": DatasetInput(self.request.dataset),
            "generator": WeightsInput.of(chosen) if chosen["files"] else None,
            "seed": self.request.seed,
        }
        return [Sample(data)]

    def produce(self, results: Sequence[Mapping[str, Any]]) -> Produced:
        [result] = results
        about = result["about"]
        table = json.dumps(about, indent=1, ensure_ascii=False).encode()
        return Produced(
            about,
            images=(ImageOutput("samples.png", result["image"], drew=True),),
            files=(FileOutput("evaluation.json", table, "application/json"),),
        )


class PanoramaEvaluation(Kind[PanoramaEvaluationInput]):
    name = "panorama_evaluation"
    summary = "Measure what a panorama model draws, on pictures that it was not trained on."
    Input = PanoramaEvaluationInput

    def stages(self, request: PanoramaEvaluationInput) -> list[Stage]:
        return [EvaluationStage(request)]


KIND = PanoramaEvaluation()
