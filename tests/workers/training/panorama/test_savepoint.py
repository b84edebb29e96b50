"""A state in parts."""

from pathlib import Path

import pytest
import torch

from workers.training.panorama import savepoint
from workers.training.panorama.savepoint import restore, write


def test_a_state_is_cut_into_parts_and_put_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savepoint, "PART_BYTES", 1000)
    state = {"weights": torch.randn(700), "rows": [{"batch": 1, "loss": 0.1}], "place": (1, 2)}
    first = write(state, tmp_path, 12)
    assert [path.stat().st_size for path in first[:-1]] == [1000] * (len(first) - 1)
    assert len(first) > 3
    assert first[0].name == "state-000000012-0000"
    found = restore(tmp_path, tmp_path)
    assert torch.equal(found.pop("weights"), state.pop("weights"))
    assert found == state
    second = write({"place": (3, 4)}, tmp_path, 24)
    assert sorted(tmp_path.iterdir()) == second
    assert restore(tmp_path, tmp_path) == {"place": (3, 4)}


def test_a_savepoint_without_its_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(savepoint, "PART_BYTES", 1000)
    write({"weights": torch.randn(700)}, tmp_path, 12)[-1].unlink()
    with pytest.raises(RuntimeError):
        restore(tmp_path, tmp_path)
