"""Which models are on this machine."""

from pathlib import Path

import pytest

from shared.errors import ModelNotAvailable
from shared.model_store import (
    Lock,
    LockedFile,
    LockedModel,
    ModelState,
    file_sha256,
    folder_digest,
    lock_key,
    package_folder,
    parts,
    pulled_folder,
    state,
)
from shared.models import Model, Registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own-captioner"
    (folder / "inner").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "inner" / "weights").write_bytes(b"123")
    return folder


def pulled(model: Model, models_dir: Path) -> LockedModel:
    """Put one file of the model where a pull would."""
    folder = pulled_folder(model, "c1", models_dir)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    digest = file_sha256(folder / "config.json")
    return LockedModel(commit="c1", files={"config.json": LockedFile(sha256=digest, size=2)})


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


def test_every_shipped_entry_has_a_state(tmp_path: Path) -> None:
    registry = Registry.load(tmp_path)
    states = {
        (family, name): state(model, tmp_path, Lock())
        for (family, name), model in registry.models.items()
    }
    assert states["captioner", "tiny"] == states["ocr", "rapidocr"] == ModelState.SHIPPED
    assert states["diffuser", "sd15"] == states["lora", "lcm-sd15"] == ModelState.MISSING
    for pair in registry.profiles["tiny"].items():
        assert states[pair] == ModelState.SHIPPED


def test_a_model_is_pulled_when_all_its_parts_are_whole(tmp_path: Path) -> None:
    model = Model(name="m", family="diffuser", repo="a/one", stages=("a/two",))
    first, second = parts(model)
    assert (first.repo, second.repo) == ("a/one", "a/two")
    locked = {lock_key(first): pulled(first, tmp_path)}
    assert state(model, tmp_path, Lock(models=locked)) == ModelState.MISSING
    locked[lock_key(second)] = pulled(second, tmp_path)
    assert state(model, tmp_path, Lock(models=locked)) == ModelState.PULLED
    (pulled_folder(second, "c1", tmp_path) / "config.json").write_text("longer")
    assert state(model, tmp_path, Lock(models=locked)) == ModelState.MISSING


def test_a_model_is_here_when_all_its_networks_are(folder: Path, tmp_path: Path) -> None:
    inside = Model(name="a", family="network", package="json")
    own = Model(name="b", family="network", path=str(folder))
    gone = Model(name="c", family="network", repo="a/one")
    for networks, expected in [
        ((inside,), ModelState.SHIPPED),
        ((inside, own), ModelState.PULLED),
        ((inside, gone), ModelState.MISSING),
    ]:
        model = Model(name="m", family="compositor", made_of=networks)
        assert state(model, tmp_path, Lock()) == expected


def test_a_folder_of_ones_own_counts_as_pulled(folder: Path, tmp_path: Path) -> None:
    model = Model(name="m", family="captioner", path=str(folder))
    assert state(model, tmp_path, Lock()) == ModelState.PULLED


@pytest.mark.parametrize("package", ["no_such_package", "no_such.package", "json.decoder"])
def test_a_package_that_is_not_there_is_named(package: str) -> None:
    with pytest.raises(ModelNotAvailable, match=f"package {package} is not installed"):
        package_folder(package)
