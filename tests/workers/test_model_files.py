"""Finding a model's files."""

import re
from pathlib import Path

import pytest

from shared.errors import ModelNotAvailable, SettingsError
from shared.models import Model, Registry
from workers.model_files import LOCK_FILE, checkpoint, folder_digest, resolve_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own-captioner"
    (folder / "inner").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "inner" / "weights").write_bytes(b"123")
    return folder


def test_a_folder_is_named_by_its_content(folder: Path) -> None:
    before = folder_digest(folder)
    assert before.startswith("sha256:")
    assert len(before) == len("sha256:") + 16
    (folder / ".hidden").write_text("x")
    assert folder_digest(folder) == before
    (folder / "inner" / "weights").write_bytes(b"124")
    changed = folder_digest(folder)
    assert changed != before
    (folder / "inner" / "weights").rename(folder / "weights")
    assert folder_digest(folder) not in (before, changed)


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


def test_a_damaged_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text('{"models": 3}')
    with pytest.raises(SettingsError, match=re.escape(LOCK_FILE)):
        checkpoint(Registry.load(tmp_path).models["diffuser", "sd15"], tmp_path)
