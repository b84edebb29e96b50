"""`panorama_evaluation`: what its step takes and makes."""

import json
from pathlib import Path

from PIL import Image

from shared.contracts import DatasetInput, Priority, Step, StoredFile, WeightsInput
from shared.kinds.panorama_evaluation import EvaluationStage, PanoramaEvaluationInput
from shared.models import ModelChoice, Registry

FILE = StoredFile(key="models/panorama/alps/1-config.json", sha256="1", bytes=2)
REGISTRY = Registry.load(Path("/nonexistent")).trained("panorama", "alps", {"config.json": FILE})
STAGE = EvaluationStage(PanoramaEvaluationInput(dataset="file_d", pairing="random", seed=5))


def plan(**chosen: str) -> Step:
    return STAGE.plan(ModelChoice(REGISTRY, "tiny", chosen, Priority.BULK))


def test_it_is_about_the_jobs_panorama_model_and_runs_where_models_are_trained() -> None:
    step = plan()
    assert step.params == {
        "stage": "evaluation",
        "generator": {"model": "tiny", "files": {}},
        "both_orders": True,
        "pairing": "random",
    }
    assert step.queue(Priority.BULK) == "2-bulk.panorama_trainer.tiny"
    [sample] = STAGE.samples(step, {})
    assert sample.data == {"pictures": DatasetInput("file_d"), "generator": None, "seed": 5}


def test_a_trained_models_files_come_along() -> None:
    step = plan(panorama="alps", panorama_trainer="full")
    assert (step.model, step.params["generator"]["model"]) == ("full", "alps")
    [sample] = STAGE.samples(step, {})
    assert sample.data["generator"] == WeightsInput({"config.json": FILE})


def test_the_numbers_are_outputs_and_a_file() -> None:
    about = {"fid": 1.5, "kid": {"mean": 0.1, "std": 0.01, "subset": 2}, "model": "alps"}
    sheet = Image.new("RGB", (4, 4))
    produced = STAGE.produce([{"about": about, "image": sheet}])
    assert produced.outputs == about
    [image], [file] = produced.images, produced.files
    assert (image.name, image.image, image.drew) == ("samples.png", sheet, True)
    assert (file.name, json.loads(file.data)) == ("evaluation.json", about)
