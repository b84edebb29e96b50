"""Taking in a file of weights in place of a pull."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from shared.errors import DiskFull, ModelNotAvailable
from shared.model_store import Lock, ModelState, lock_key, state
from shared.models import NETWORK, Registry
from tests.faults.small_disk import small_disk
from workers import model_import
from workers.model_files import checkpoint
from workers.model_import import import_file
from workers.nets.lpips import Heads
from workers.nets.vgg import Vgg
from workers.nets.weights import load
from workers.pull import pull


def published(path: Path, value: float) -> Path:
    """VGG16 with a classifier, as torchvision's file is; all of its numbers are `value`."""
    tensors = {
        name: torch.full(tensor.shape, value) for name, tensor in Vgg(16).state_dict().items()
    }
    torch.save({**tensors, "classifier.6.bias": torch.zeros(1000)}, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("download") / "vgg16-397923af.pth", 0.5)


def bring(file: Path, models_dir: Path, name: str = "vgg16", family: str | None = None) -> str:
    """Import the file; what is said."""
    lines: list[str] = []
    import_file(file, name, family, models_dir, say=lines.append)
    (line,) = lines
    return line


def test_an_imported_file_is_found_in_place_of_a_pull(file: Path, tmp_path: Path) -> None:
    line = bring(file, tmp_path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert "network/vgg16: imported from vgg16-397923af.pth, 58.9 MB" in line
    assert digest in line
    vgg16 = Registry.load(tmp_path).models[NETWORK, "vgg16"]
    lock = Lock.read(tmp_path)
    assert state(vgg16, tmp_path, lock) is ModelState.PULLED
    assert lock.models[lock_key(vgg16)].imported == file.name
    found = checkpoint(vgg16, tmp_path)
    assert found.revision == digest
    assert [path.name for path in found.path.iterdir()] == ["model.safetensors"]
    with safe_open(found.path / "model.safetensors", "pt") as content:
        assert set(content.keys()) == set(Vgg(16).state_dict())
    network = Vgg(16, last=3)
    load(network, found.path)
    assert all((each == 0.5).all() for each in network.state_dict().values())


def test_another_import_replaces_it_and_the_same_one_mends_it(file: Path, tmp_path: Path) -> None:
    registry = Registry.load(tmp_path)
    vgg16 = registry.models[NETWORK, "vgg16"]
    bring(published(tmp_path / "mine.pth", 0.25), tmp_path)
    first = checkpoint(vgg16, tmp_path)
    bring(file, tmp_path)
    second = checkpoint(vgg16, tmp_path)
    assert first.revision != second.revision
    weights = second.path / "model.safetensors"
    weights.write_bytes(b"damaged")
    assert state(vgg16, tmp_path, Lock.read(tmp_path)) is ModelState.MISSING
    with pytest.raises(ModelNotAvailable, match=r"imported from vgg16-397923af.pth and is damaged"):
        pull(["vgg16"], None, tmp_path, endpoint="http://127.0.0.1:9", say=lambda line: None)
    bring(file, tmp_path)
    assert checkpoint(vgg16, tmp_path) == second
    lines: list[str] = []
    pull(["vgg16"], None, tmp_path, endpoint="http://127.0.0.1:9", say=lines.append)
    assert "verified" in lines[-1]


def test_safetensors_are_checked_against_the_architecture(file: Path, tmp_path: Path) -> None:
    """VGG19 begins as VGG16 does, and has its eighth convolution elsewhere."""
    bring(file, tmp_path)
    before = Lock.read(tmp_path)
    other = tmp_path / "vgg19.safetensors"
    save_file({name: each.zero_() for name, each in Vgg(19).state_dict().items()}, other)
    with pytest.raises(ModelNotAvailable, match=r"vgg19.safetensors has no tensor features.17"):
        bring(other, tmp_path)
    with pytest.raises(ModelNotAvailable, match=r"vgg16-397923af.pth has no tensor conv1.weight"):
        bring(file, tmp_path, "resnet50")
    assert Lock.read(tmp_path) == before
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["timm--vgg16.tv_in1k"]


def test_what_cannot_be_imported(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotAvailable, match=r"there is no file .*gone.pth"):
        bring(tmp_path / "gone.pth", tmp_path)
    for name, family in (("sd15", None), ("hed-vgg16", None), ("vgg16", "diffuser")):
        with pytest.raises(ModelNotAvailable, match=f"called {name}; there are: .*network/vgg16,"):
            bring(file, tmp_path, name, family)
    (tmp_path / "models.toml").write_text(
        '[diffuser.vgg16]\nrepo = "me/mine"\n[network.mine]\nrepo = "me/mine"\nbase = "alexnet"\n'
    )
    with pytest.raises(ModelNotAvailable, match="alexnet is none of vgg16, vgg19, resnet50"):
        bring(file, tmp_path, "mine")
    monkeypatch.setitem(model_import.CONVERTERS, "diffuser", "workers.nets.weights")
    with pytest.raises(ModelNotAvailable, match="add --family: network, diffuser"):
        bring(file, tmp_path)
    assert "network/vgg16: imported" in bring(file, tmp_path, family=NETWORK)


def test_a_file_that_no_hub_has_is_asked_for_and_found(file: Path, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text('[network.mine]\nfile = "Weights"\nbase = "vgg16"\n')
    mine = Registry.load(tmp_path).models[NETWORK, "mine"]
    assert state(mine, tmp_path, Lock()) is ModelState.MISSING
    with pytest.raises(ModelNotAvailable, match="workers models import Weights --as mine"):
        checkpoint(mine, tmp_path)
    lines: list[str] = []
    pull(["mine"], None, tmp_path, endpoint="http://127.0.0.1:9", say=lines.append)
    assert lines == [
        "network/mine: nothing to fetch, it is in Weights, a file that "
        "`python -m workers models import` takes"
    ]
    bring(file, tmp_path, "mine")
    assert state(mine, tmp_path, Lock.read(tmp_path)) is ModelState.PULLED
    found = checkpoint(mine, tmp_path)
    assert found.revision == hashlib.sha256(file.read_bytes()).hexdigest()
    load(Vgg(16, last=3), found.path)


def test_the_published_panorama_is_checked_to_be_one(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotAvailable, match=r"features.* is no tensor of a Generator"):
        bring(file, tmp_path, "panorama-scenery")


def test_the_published_weights_of_channels_are_told_from_those_of_another_network(
    tmp_path: Path,
) -> None:
    """LPIPS for an AlexNet has the same names, and begins with as many channels."""
    for name, channels in (("vgg.pth", (64, 128, 256, 512, 512)), ("alex.pth", (64, 192))):
        tensors = {
            f"lin{number}.model.1.weight": torch.full((1, count, 1, 1), 0.5)
            for number, count in enumerate(channels)
        }
        torch.save(tensors, tmp_path / name)
    with pytest.raises(ModelNotAvailable, match=r"lin1\.model\.1\.weight is \(1, 192, 1, 1\), not"):
        bring(tmp_path / "alex.pth", tmp_path, "lpips")
    assert "network/lpips: imported from vgg.pth" in bring(tmp_path / "vgg.pth", tmp_path, "lpips")
    lpips = Registry.load(tmp_path).models[NETWORK, "lpips"]
    heads = Heads()
    load(heads, checkpoint(lpips, tmp_path).path)
    assert {tap: (len(head), head.sum()) for tap, head in heads.by_tap().items()} == {
        3: (64, 32),
        8: (128, 64),
        15: (256, 128),
        22: (512, 256),
        29: (512, 256),
    }


def test_a_full_disk_leaves_what_was_there(file: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "models", 90) as models_dir:
        vgg16 = Registry.load(models_dir).models[NETWORK, "vgg16"]
        bring(file, models_dir)
        before = checkpoint(vgg16, models_dir)
        with pytest.raises(DiskFull, match="No space left"):
            bring(published(tmp_path / "mine.pth", 0.25), models_dir)
        assert checkpoint(vgg16, models_dir) == before
        assert len(list(models_dir.rglob("*.safetensors"))) == 1
