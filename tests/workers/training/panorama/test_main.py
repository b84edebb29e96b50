from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from workers.nets.panorama import checkpoint
from workers.nets.panorama.generator import Generator
from workers.training.panorama import tiny
from workers.training.panorama.__main__ import main
from workers.training.panorama.trainer import read


def test_the_tiny_model_is_trained_by_all_stages_in_several_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ({"batch": 2}, {"batch": 2, "pairs": 1}, {"batch": 2})
    stages = [
        replace(stage, epochs=1, **size) for stage, size in zip(tiny.STAGES, sizes, strict=True)
    ]
    monkeypatch.setattr(tiny, "STAGES", stages)
    monkeypatch.setattr(tiny, "PICTURES", range(4))  # two batches, then four
    monkeypatch.setattr(tiny, "TOLD_EVERY", 2)
    command = ["tiny", "--out", str(tmp_path), "--samples", "3"]

    assert main([*command, "--minutes", "0"]) == 0  # one batch, and the time is up
    assert "the same command goes on" in capsys.readouterr().err
    assert read(tmp_path / "reconstruction.pt")["place"] == (0, 1)

    main(command)
    told = capsys.readouterr()
    assert "finetune 0:4/4: " in told.err
    assert [line.split()[0] for line in told.out.splitlines()[1:]] == [
        "generator", "full", "cross-fade", "mirrored"
    ]  # fmt: skip
    assert Image.open(tmp_path / "sheet.png").size == (5 * 3 * 64, 3 * 64)
    kept = read(tmp_path / "polish.pt")
    shipped = checkpoint.load(Generator, tmp_path / "model").state_dict()
    halved = {name: tensor.half().float() for name, tensor in kept["generator"].items()}
    assert all(torch.equal(shipped[name], halved[name]) for name in shipped)
    assert kept["place"] == (1, 0)
