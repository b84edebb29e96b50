"""Runs that are broken off and go on from their savepoints: nothing shows in what comes of them."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.compositing.small import TARGET, Keeper, batch, sample, thin_vgg
from tests.workers.families import Recorder
from workers.compositing import savepoint
from workers.compositing.blending import blend
from workers.predictor import Batch

Networks = dict[str, Any]

STEPS = 130  # more than the pairs that are remembered
PAIR_BYTES = 2 * 4 * 3 * TARGET**2


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Networks:
    monkeypatch.setattr(savepoint, "PART_BYTES", 10 * PAIR_BYTES)
    return {"vgg16": thin_vgg(monkeypatch)}


def long(*samples: dict[str, Any], **params: Any) -> Batch:
    return batch(*samples, **{"steps": STEPS, "video": True, **params})


def test_what_goes_on_ends_bit_for_bit_the_same(networks: Networks, tmp_path: Path) -> None:
    """Broken off once in every stage: with few pairs, with forgotten ones, between the passes and
    in the second one; each time it goes on from where it was saved last."""
    (whole,) = blend(long(sample()), networks, "cpu", Recorder())
    one, files = sample(), {}
    for number, steps in enumerate((45, 75, 42, 125), 1):
        keeper = Keeper(most=steps)
        keeper.files.update(files)
        assert blend(long(one), networks, "cpu", keeper) == []
        folder = keeper.restore(tmp_path / str(number))
        one, files = sample(savepoint=folder), keeper.files
    last = Keeper()
    (result,) = blend(long(one), networks, "cpu", last)
    assert result == whole
    assert len(last.steps) < STEPS


def test_a_savepoint_adds_to_the_one_before(networks: Networks) -> None:
    keeper = Keeper()
    blend(long(sample()), networks, "cpu", keeper)
    first, second, *_ = keeper.savepoints
    assert first == [
        "head-first_pass-000020.safetensors",
        "first_pass-pairs-000000-000009.safetensors",
        "first_pass-pairs-000010-000018.safetensors",
        "video-000000-000000.safetensors",
    ]
    assert set(first[1:]) < set(second)
    for names in keeper.savepoints:
        pairs = [name for name in names if "pairs" in name]
        assert len({name.partition("-")[0] for name in pairs}) == 1  # of the present pass only
        held = sum(len(keeper.files[name]) for name in pairs)
        assert held < (100 + 10) * PAIR_BYTES * 1.2  # what is forgotten is let go of
        head = len(keeper.files[names[0]])
        assert head < 4 * PAIR_BYTES + 60_000


def test_samples_of_a_batch_go_on_each_from_its_own(networks: Networks, tmp_path: Path) -> None:
    """One has nothing, another is in the second pass already."""
    params = {"steps": 22, "video": True}
    whole = blend(long(sample(1), sample(2), **params), networks, "cpu", Recorder())
    keeper = Keeper(most=43, place=1)
    assert blend(long(sample(1), sample(2), **params), networks, "cpu", keeper) == []
    ahead = sample(2, savepoint=keeper.restore(tmp_path / "saved"))
    again = Recorder()
    assert blend(long(sample(1), ahead, **params), networks, "cpu", again) == whole
    assert len(again.steps) == 44


def _shorten(folder: Path) -> None:
    (path,) = folder.glob("head-*")
    path.write_bytes(path.read_bytes()[:-9])


def _lose_pairs(folder: Path) -> None:
    next(folder.glob("*-pairs-*")).unlink()


def _lose_head(folder: Path) -> None:
    next(folder.glob("head-*")).unlink()


def _garble_video(folder: Path) -> None:
    next(folder.glob("video-*")).write_bytes(b"nothing")


@pytest.mark.parametrize("damage", [_shorten, _lose_pairs, _lose_head, _garble_video])
def test_a_damaged_savepoint_is_left(networks: Networks, tmp_path: Path, damage: Any) -> None:
    params = {"steps": 21, "video": True}
    keeper = Keeper(most=41)
    blend(long(sample(), **params), networks, "cpu", keeper)
    folder = keeper.restore(tmp_path / "saved", 0)
    damage(folder)
    again = Recorder()
    blend(long(sample(savepoint=folder), **params), networks, "cpu", again)
    assert len(again.steps) == 42


def test_a_savepoint_of_other_settings_is_left(networks: Networks, tmp_path: Path) -> None:
    keeper = Keeper(most=25)
    blend(long(sample()), networks, "cpu", keeper)
    saved = keeper.restore(tmp_path / "saved")
    again = Recorder()
    blend(long(sample(seed=2, savepoint=saved), steps=3), networks, "cpu", again)
    assert len(again.steps) == 6
