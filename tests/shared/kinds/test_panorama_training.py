"""`panorama_training`: what its step takes and makes."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts import DatasetInput, Priority, Step, StoredFile, WeightsInput
from shared.errors import InvalidRequest, TrainingDiverged
from shared.kinds.panorama_training import KIND, PanoramaTrainingInput, TrainingStage
from shared.models import ModelChoice, Registry

FILE = StoredFile(key="models/panorama/alps/1-config.json", sha256="1", bytes=2)
REGISTRY = Registry.load(Path("/nonexistent")).trained("panorama", "alps", {"config.json": FILE})


def stage(**fields: Any) -> TrainingStage:
    return TrainingStage(PanoramaTrainingInput(dataset="file_d", **fields))


def plan(**fields: Any) -> Step:
    models = {"panorama_trainer": "tiny"}
    return stage(**fields).plan(ModelChoice(REGISTRY, "tiny", models, Priority.BULK))


def refused(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        plan(**fields)
    [error] = caught.value.errors
    return error["pointer"]


def test_what_is_left_open_is_the_stages_own_or_the_models() -> None:
    step = plan()
    assert step.params == {
        "stage": "reconstruction",
        "held_out": 16,
        "recompute": False,
        "features": 0.0,
        "weight_decay": 0.0,
        "adversarial": 0.0,
        "gradient": 0.2,
    }
    assert step.queue(Priority.BULK) == "2-bulk.panorama_trainer.tiny"


def test_a_finetuning_has_pairs_and_goes_on_from_a_model() -> None:
    step = plan(stage="finetune", start_from="alps", batch_size=6, learning_rate=0.1)
    chosen = {"batch": 6, "pairs": 3, "rate": 0.1, "pairing": "lpips", "adversarial": 0.0001}
    assert step.params.items() >= chosen.items()
    assert step.params["start_from"] == {
        "model": "alps",
        "files": {"config.json": FILE.model_dump()},
    }
    [sample] = stage(seed=5).samples(step, {})
    assert sample.data["start_from"] == WeightsInput({"config.json": FILE})
    assert (sample.data["pictures"], sample.data["seed"]) == (DatasetInput("file_d"), 5)
    registered = plan(start_from="tiny")
    assert registered.params["start_from"] == {"model": "tiny", "files": {}}
    assert stage().samples(registered, {})[0].data["start_from"] is None


def test_what_is_wrong_with_the_models_is_named() -> None:
    assert refused(stage="finetune") == "/input/start_from"
    assert refused(start_from="nonesuch") == "/input/start_from"
    assert refused(start_from="trained") == "/input/start_from"
    for taken in ("tiny", "alps", "trained"):
        assert refused(name=taken) == "/input/name"


@pytest.mark.parametrize("name", ["", "Alps", "a b", "../a", "-a", "a" * 65])
def test_a_name_is_short_and_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        stage(name=name)


def test_a_model_gets_a_name_and_both_are_looked_up() -> None:
    given = PanoramaTrainingInput(dataset="file_d", start_from="alps")
    done = KIND.completed(given)
    assert done.name != KIND.completed(given).name
    assert done.seed is not None
    assert KIND.named_models(done) == [("panorama", "alps"), ("panorama", done.name)]
    assert KIND.completed(given.model_copy(update={"name": "own"})).name == "own"
    assert KIND.named_models(PanoramaTrainingInput(dataset="file_d")) == []


def test_the_model_is_registered_even_where_the_training_fails() -> None:
    files = [Path("config.json"), Path("model.safetensors"), Path("losses.svg")]
    result = {"files": files, "about": {"batches": 3}, "stopped": None}
    produced = stage(name="alps-2").produce([result])
    assert produced.outputs == {"batches": 3, "trained_model": "alps-2"}
    assert [file.media_type for file in produced.files] == [
        "application/json",
        "application/octet-stream",
        "image/svg+xml",
    ]
    assert produced.failure is None
    stopped = stage(name="alps-2").produce([{**result, "stopped": "pixel is nan"}])
    assert stopped.trained == produced.trained
    assert isinstance(stopped.failure, TrainingDiverged)
    assert "pixel is nan" in stopped.failure.message
    assert "alps-2" in stopped.failure.message
