"""Finding a model's files."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from shared.errors import ModelNotAvailable, SettingsError
from shared.model_store import LOCK_FILE, folder_digest
from shared.models import Model, Registry
from workers.model_files import checkpoint, resolve_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own-captioner"
    (folder / "inner").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "inner" / "weights").write_bytes(b"123")
    return folder


def test_a_worker_may_be_given_a_folder(folder: Path, tmp_path: Path) -> None:
    model = resolve_model(Registry.load(tmp_path), "captioner", str(folder))
    assert (model.name, model.family) == ("own-captioner", "captioner")
    found = checkpoint(model, tmp_path)
    assert (found.model, found.path) == ("own-captioner", folder)
    assert found.revision == folder_digest(folder)


def test_a_name_of_the_registry_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    model = resolve_model(Registry.load(tmp_path), "captioner", "tiny")
    assert model.path == "tiny/captioner"


def test_what_is_neither_is_told_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelNotAvailable, match=r"no folder and no captioner; there are: .*tiny"):
        resolve_model(Registry.load(tmp_path), "captioner", "no/such/folder")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    model = Model(name="m", family="captioner", path=str(tmp_path / "gone"))
    with pytest.raises(ModelNotAvailable, match=r"there is no folder .*gone"):
        checkpoint(model, tmp_path)


def test_a_model_that_was_not_pulled_comes_with_the_command(tmp_path: Path) -> None:
    model = Registry.load(tmp_path).models["diffuser", "sd15"]
    with pytest.raises(ModelNotAvailable, match="python -m workers models pull sd15"):
        checkpoint(model, tmp_path)


def test_a_package_is_a_model_with_its_version(tmp_path: Path) -> None:
    found = checkpoint(Registry.load(tmp_path).models["ocr", "rapidocr"], tmp_path)
    assert found.path.name == "rapidocr"
    assert found.revision == importlib.metadata.version("rapidocr")


def test_the_folders_of_a_cascade_are_one_checkpoint(folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / "model_index.json").write_text("{}")
    model = Model(
        name="m", family="diffuser", path=str(folder), stages=(str(second),), settings={"a": 1}
    )
    found = checkpoint(model, tmp_path)
    assert (found.path, found.parts, found.settings) == (folder, (second,), {"a": 1})
    assert found.revision == f"{folder_digest(folder)}+{folder_digest(second)}"
    with pytest.raises(ModelNotAvailable, match="gone"):
        checkpoint(model.model_copy(update={"stages": ("/gone",)}), tmp_path)


def test_the_networks_of_a_model_come_by_their_architecture(folder: Path, tmp_path: Path) -> None:
    inside = Model(name="edges", family="network", package="rapidocr", base="vgg16")
    own = Model(name="resnet50", family="network", path=str(folder))
    found = checkpoint(Model(name="m", family="compositor", made_of=(inside, own)), tmp_path)
    assert found.networks == {"vgg16": found.path, "resnet50": folder}
    assert found.path.name == "rapidocr"
    assert found.revision == f"{importlib.metadata.version('rapidocr')}+{folder_digest(folder)}"


def test_optional_networks_come_where_they_are(folder: Path, tmp_path: Path) -> None:
    own = Model(name="resnet50", family="network", path=str(folder))
    gone = Model(name="inception", family="network", file="Weights")
    for optional, expected in [((gone,), {}), ((gone, own), {"resnet50": folder})]:
        model = Model(name="m", family="compositor", path=str(folder), may_use=optional)
        assert checkpoint(model, tmp_path).networks == expected


def test_loras_that_are_here_and_may_fit_come_with_a_model(tmp_path: Path) -> None:
    for name in ("fits", "other", "any"):
        (tmp_path / name).mkdir()
    entries = {"fits": "sd15", "other": "sdxl", "any": "", "gone": "sd15"}
    (tmp_path / "models.toml").write_text(
        "".join(
            f'[lora.{name}]\npath = "{tmp_path / name}"\n' + (f'base = "{base}"\n' if base else "")
            for name, base in entries.items()
        )
    )
    registry = Registry.load(tmp_path)
    model = Model(name="m", family="diffuser", path=str(tmp_path / "fits"), base="sd15")
    found = checkpoint(model, tmp_path, registry).adapters
    assert found == {name: tmp_path / name for name in ("fits", "any")}


def test_a_damaged_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text('{"models": 3}')
    with pytest.raises(SettingsError, match=re.escape(LOCK_FILE)):
        checkpoint(Registry.load(tmp_path).models["diffuser", "sd15"], tmp_path)
