"""The sample set: jobs that the kind accepts, with masks that hold the object."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from deploy.composite_samples import NO_PHOTOGRAPHS, drawn, main, photographs
from shared.kinds.composite import CompositeInput, CompositeStage

SAMPLES = {sample.name: sample for sample in [*drawn(), *photographs()]}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("target_size", [64, 255, 512])
def test_every_source_lies_in_its_target(name, target_size):
    fields = SAMPLES[name].placed(target_size)
    request = CompositeInput(source="s", mask="m", target="t", **fields)
    assert CompositeStage(request).source_size() == fields["source_size"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_picture_is_square_and_its_mask_leaves_a_rim(name):
    sample = SAMPLES[name]
    mask = sample.mask or sample.source.getchannel("A")
    assert mask.size == sample.source.size == (mask.width, mask.width)
    assert sample.target.size == (sample.target.width,) * 2
    inside = np.asarray(mask) > 0
    assert 0.15 < inside.mean() < 0.8
    assert sample.credit


def test_the_masks_differ_as_their_names_say():
    masks = {name: np.asarray(SAMPLES[f"balloon-{name}"].mask) for name in ("hard", "soft")}
    outline = np.asarray(SAMPLES["balloon-transparent"].source.getchannel("A"))
    assert set(np.unique(masks["hard"])) == {0, 255}
    assert len(np.unique(masks["soft"])) > 100
    assert (masks["hard"][outline > 0] == 255).all()
    assert masks["hard"].sum() > 1.1 * outline.sum()


def test_equal_calls_draw_equal_pictures():
    for one, other in zip(drawn(), drawn(), strict=True):
        assert one == other


def test_the_set_is_written_with_its_list(tmp_path, capsys):
    main(tmp_path / "set")
    entries = json.loads((tmp_path / "set" / "samples.json").read_text())
    assert [entry["name"] for entry in entries] == list(SAMPLES)
    for entry in entries:
        with Image.open(tmp_path / "set" / entry["source"]) as source:
            assert source.mode == ("RGB" if "mask" in entry else "RGBA")
        assert (tmp_path / "set" / entry["target"]).exists()
        assert {"source_size", "target_size", "x", "y", "credit"} <= entry.keys()


def test_without_scikit_image_the_drawn_ones_are_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    main(tmp_path)
    assert capsys.readouterr().err.strip() == NO_PHOTOGRAPHS
    assert len(json.loads((tmp_path / "samples.json").read_text())) == 3
