"""Which checkpoints are refused before any library reads them."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelNotAvailable
from workers import weights


def model(folder: Path, *files: str, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "blip", **config}))
    for file in files:
        (folder / file).write_bytes(b"\0" * 8)
    return folder


def pipeline(folder: Path, **index: Any) -> Path:
    model(folder / "unet", "diffusion_pytorch_model.safetensors")
    (folder / "scheduler").mkdir()
    index = {"_class_name": "P", "unet": ["diffusers", "U"], "scheduler": ["d", "S"], **index}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_what_is_in_safetensors_passes(tmp_path: Path) -> None:
    weights.check(model(tmp_path / "one", "model.safetensors"))
    weights.check(model(tmp_path / "both", "model.safetensors", "pytorch_model.bin"))
    weights.check(model(tmp_path / "shards", "model-00001-of-00002.safetensors"))
    absent = {"safety_checker": [None, None], "image_encoder": ["transformers", "CLIP"]}
    weights.check(pipeline(tmp_path / "pipeline", **absent, force_zeros=True))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-2.bin", "x.ckpt"])
def test_pickled_weights_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelNotAvailable, match=rf"pickled weights alone \({name}\)"):
        weights.check(model(tmp_path, name))


def test_a_pipeline_is_refused_for_one_pickled_component(tmp_path: Path) -> None:
    folder = pipeline(tmp_path, vae=["diffusers", "AutoencoderKL"])
    model(folder / "vae", "diffusion_pytorch_model.bin")
    with pytest.raises(ModelNotAvailable, match=r"vae holds pickled weights alone"):
        weights.check(folder)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotAvailable, match=r"no config\.json and no model_index\.json"):
        weights.check(tmp_path)
    with pytest.raises(ModelNotAvailable, match="no safetensors"):
        weights.check(model(tmp_path / "model"))
    folder = pipeline(tmp_path / "pipeline")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelNotAvailable, match="no component has safetensors"):
        weights.check(folder)


def test_a_checkpoint_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    auto_map = {"AutoModelForCausalLM": "modeling_x.X"}
    with pytest.raises(ModelNotAvailable, match=r"its own code to be run \(auto_map"):
        weights.check(model(tmp_path / "model", "model.safetensors", auto_map=auto_map))
    with pytest.raises(ModelNotAvailable, match="its pipeline class"):
        weights.check(pipeline(tmp_path / "pipeline", _class_name=["pipeline", "P"]))
    folder = pipeline(tmp_path / "component", unet=["my_unet", "U"])
    (folder / "unet" / "my_unet.py").write_text("")
    with pytest.raises(ModelNotAvailable, match=r"its own code to be run \(unet\)"):
        weights.check(folder)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (model(tmp_path, "model.safetensors") / "config.json").write_text(text)
    with pytest.raises(ModelNotAvailable, match=r"config\.json cannot be read"):
        weights.check(tmp_path)
