"""The models that training jobs made, in S3."""

import pytest

from shared.contracts import TrainedOutput
from shared.errors import NotFound
from shared.testing.object_store import MemoryObjectStore
from shared.trained_models import TrainedModel, TrainedModels


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore(clock=lambda: 1_000)


@pytest.fixture
def models(store: MemoryObjectStore) -> TrainedModels:
    return TrainedModels(store)


def keep(models: TrainedModels, name: str = "alps", data: bytes = b"weights") -> TrainedModel:
    trained = TrainedOutput("panorama", name, ("model.safetensors",), {"batches": 7})
    file = models.put_file(trained, "model.safetensors", data)
    models.register(trained, "job_1", {"model.safetensors": file})
    return models.get("panorama", name)


def test_a_model_is_found_with_its_files(models: TrainedModels, store: MemoryObjectStore) -> None:
    model = keep(models)
    assert (model.name, model.family, model.job) == ("alps", "panorama", "job_1")
    assert (model.created_at, model.about) == (1_000, {"batches": 7})
    file = model.files["model.safetensors"]
    assert store.get(file.key, sha256=file.sha256, size=file.bytes) == b"weights"
    assert models.all() == [model]


def test_a_file_is_never_overwritten(models: TrainedModels, store: MemoryObjectStore) -> None:
    first, second = keep(models), keep(models, data=b"others")
    assert models.get("panorama", "alps") == second
    file = first.files["model.safetensors"]
    assert store.get(file.key, sha256=file.sha256) == b"weights"


def test_files_alone_are_no_model(models: TrainedModels) -> None:
    models.put_file(TrainedOutput("panorama", "alps", (), {}), "model.safetensors", b"weights")
    assert models.all() == []


def test_a_model_is_removed_with_all_it_had(
    models: TrainedModels, store: MemoryObjectStore
) -> None:
    keep(models)
    keep(models, data=b"others")
    other = keep(models, "alps-2")
    models.delete("panorama", "alps")
    assert models.all() == [other]
    assert all(key.startswith("models/panorama/alps-2/") for _, key in store.objects)
    with pytest.raises(NotFound):
        models.delete("panorama", "alps")


@pytest.mark.parametrize(
    ("family", "name"), [("panorama", "x"), ("panorama", "../jobs"), ("", "a"), ("a/b", "a")]
)
def test_what_is_not_there(models: TrainedModels, family: str, name: str) -> None:
    with pytest.raises(NotFound):
        models.get(family, name)
