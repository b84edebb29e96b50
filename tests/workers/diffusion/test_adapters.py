"""LoRA adapters: what they change, and that nothing of them stays."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import PredictionFailed
from tests.checkpoints.diffusers import BUILDERS
from tests.checkpoints.loras import lora
from tests.workers.families import Recorder, noise
from workers.diffusion.adapters import KEPT, matrices
from workers.families.diffuser import Diffuser
from workers.predictor import Batch, Checkpoint

FILE = "pytorch_lora_weights.safetensors"
MODELS = ("sd15", "sdxl", "flux")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pipelines, and LoRA files by name: `both-…` have a part for the text encoder."""
    folder = tmp_path_factory.mktemp("adapters")
    for model in MODELS:
        BUILDERS[model](folder / model)
        lora(folder / "loras" / f"both-{model}", folder / model, 1, with_text_encoder=True)
        lora(folder / "loras" / model, folder / model, 2)
    lora(folder / "loras" / "style.v1", folder / "sd15", 3)
    (folder / "loras" / "style.v1" / FILE).rename(
        folder / "loras" / "style.v1" / "style.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def diffuser(folder: Path) -> Diffuser:
    diffuser = Diffuser("cpu")
    adapters = {path.name: path for path in (folder / "loras").iterdir()}
    adapters["file"] = folder / "loras" / "sd15" / FILE
    for model in MODELS:
        diffuser.load(Checkpoint(model, folder / model, "r", adapters=adapters))
    return diffuser


def draw(
    diffuser: Diffuser, model: str, loras: dict[str, float] | None = None, **more: Any
) -> bytes:
    params = {"steps": 2, "guidance": 4.0, "width": 32, "height": 32, **more}
    if loras is not None:
        params["loras"] = [{"name": name, "scale": scale} for name, scale in loras.items()]
    samples = [{"prompt": "picture", "seed": 1, "image": noise(1, 32, 32)}]
    (result,) = diffuser.predict(Batch(model, params, 1, samples), Recorder())
    return result["image"].tobytes()


@pytest.mark.parametrize("model", MODELS)
def test_a_lora_changes_its_own_batch_alone(diffuser: Diffuser, model: str) -> None:
    plain = draw(diffuser, model)
    pictures = [
        draw(diffuser, model, loras)
        for loras in (
            {model: 1.0},
            {model: 0.5},
            {f"both-{model}": 1.0},
            {model: 1.0, f"both-{model}": 1.0},
            {model: 1.0, f"both-{model}": 0.3},
        )
    ]
    assert len({plain, *pictures}) == 6
    assert draw(diffuser, model) == plain
    assert draw(diffuser, model, {}) == plain
    assert draw(diffuser, model, {model: 1.0}) == pictures[0]
    assert draw(diffuser, model, {model: 0.0}) == plain


def test_it_serves_every_task(diffuser: Diffuser) -> None:
    params = {"task": "image-to-image", "strength": 0.8}
    plain = draw(diffuser, "sd15", **params)
    assert draw(diffuser, "sd15", {"sd15": 1.0}, **params) != plain
    assert draw(diffuser, "sd15", **params) == plain


def test_a_file_is_what_its_folder_is(diffuser: Diffuser) -> None:
    assert draw(diffuser, "sd15", {"file": 1.0}) == draw(diffuser, "sd15", {"sd15": 1.0})
    assert draw(diffuser, "sd15", {"style.v1": 1.0}) != draw(diffuser, "sd15", {"sd15": 1.0})


def test_it_is_added_as_it_was_trained(folder: Path, tmp_path: Path) -> None:
    """W + scale · (alpha / rank) · B·A, in the layer's own weights."""
    weights = load_file(folder / "loras" / "sd15" / FILE)
    copy = tmp_path / "merged"
    BUILDERS["sd15"](copy)
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    unet = load_file(file)
    for name, down in weights.items():
        if name.endswith("lora_A.weight"):
            up = weights[name.replace("lora_A", "lora_B")]
            layer = name.removeprefix("unet.").replace("lora_A.", "")
            unet[layer] += 0.5 * (6 / 2) * up @ down
    save_file(unet, file, {"format": "pt"})
    diffuser = Diffuser("cpu")
    diffuser.load(Checkpoint("merged", copy, "r"))
    adapters = {"a": folder / "loras" / "sd15"}
    diffuser.load(Checkpoint("sd15", folder / "sd15", "r", adapters=adapters))
    merged = torch.frombuffer(bytearray(draw(diffuser, "merged")), dtype=torch.uint8).int()
    added = torch.frombuffer(bytearray(draw(diffuser, "sd15", {"a": 0.5})), dtype=torch.uint8).int()
    plain = torch.frombuffer(bytearray(draw(diffuser, "sd15")), dtype=torch.uint8).int()
    assert (merged - added).abs().max() <= 1
    assert (merged - plain).abs().max() > 20


def test_few_stay_in_memory(folder: Path) -> None:
    names = [f"n{number}" for number in range(KEPT + 2)]
    adapters = dict.fromkeys(names, folder / "loras" / "both-sd15")
    diffuser = Diffuser("cpu")
    diffuser.load(Checkpoint("sd15", folder / "sd15", "r", adapters=adapters))
    plain, first = draw(diffuser, "sd15"), draw(diffuser, "sd15", {names[0]: 1.0})
    for name in [*names, names[2]]:
        assert draw(diffuser, "sd15", {name: 1.0}) == first
    model = diffuser._models["sd15"]
    assert list(model._adapters._loaded) == [*names[3:], names[2]]
    held = model._pipes["text-to-image"].get_list_adapters()
    assert [len(adapters) for adapters in held.values()] == [KEPT, KEPT]
    assert draw(diffuser, "sd15", dict.fromkeys(names, 0.1)) != plain  # more than are kept
    assert draw(diffuser, "sd15", {names[0]: 1.0}) == first
    assert draw(diffuser, "sd15") == plain


@pytest.mark.parametrize(
    ("model", "name", "reason"),
    [
        ("sd15", "sdxl", "its matrices have other sizes"),
        ("sdxl", "both-sd15", "its matrices have other sizes"),
        ("sd15", "flux", "matrices for layers that this model has not"),
        ("flux", "both-sd15", "matrices for layers that this model has not"),
        ("sd15", "unet", "Invalid LoRA checkpoint"),
        ("sd15", "pickled", r"file\.safetensors is no safetensors file"),
        ("sd15", "empty", "0 safetensors files"),
        ("sd15", "several", "2 safetensors files"),
        ("sd15", "missing", "is no safetensors file"),
        ("sd15", "unknown", "sd15 has no LoRA of the name unknown"),
    ],
)
def test_one_that_cannot_be_used_leaves_the_model_as_it_was(
    folder: Path, tmp_path: Path, model: str, name: str, reason: str
) -> None:
    for wrong in ("pickled", "empty", "several"):
        (tmp_path / wrong).mkdir()
    torch.save({"lora": torch.zeros(1)}, tmp_path / "pickled" / "file.safetensors")
    for number in (1, 2):
        save_file({"lora_A": torch.zeros(1)}, tmp_path / "several" / f"{number}.safetensors")
    adapters = {path.name: path for path in [*(folder / "loras").iterdir(), *tmp_path.iterdir()]}
    adapters |= {"unet": folder / "sd15" / "unet", "missing": tmp_path / "x.safetensors"}
    diffuser = Diffuser("cpu")
    diffuser.load(Checkpoint(model, folder / model, "r", adapters=adapters))
    plain, good = draw(diffuser, model), draw(diffuser, model, {model: 1.0})
    for loras in ({name: 1.0}, {model: 1.0, name: 1.0}):
        with pytest.raises(PredictionFailed, match=reason) as raised:
            draw(diffuser, model, loras)
        assert name in raised.value.message
        assert "\n" not in raised.value.message
        assert draw(diffuser, model) == plain
        assert draw(diffuser, model, {model: 1.0}) == good


def test_a_lora_is_named_once(diffuser: Diffuser) -> None:
    twice = {"steps": 1, "loras": [{"name": "sd15", "scale": 1.0}] * 2}
    batch = Batch("sd15", twice, 1, [{"prompt": "picture", "seed": 1}])
    with pytest.raises(PredictionFailed, match="named twice: sd15, sd15"):
        diffuser.predict(batch, Recorder())


def test_matrices_are_counted_whoever_named_them(tmp_path: Path) -> None:
    names = [
        "unet.down_blocks.0.attentions.0.to_q.lora_A.weight",
        "transformer.x.to_q.lora_A.default.weight",
        "text_encoder.q_proj.lora_linear_layer.down.weight",
        "unet.mid_block.attn1.processor.to_q_lora.down.weight",
        "lora_unet_down_blocks_0_attentions_0_to_q.lora_down.weight",
        "double_blocks.0.processor.qkv_lora1.down.weight",
    ]
    others = [name.replace("_A", "_B").replace(".down.", ".up.") for name in names]
    others = [name.replace("lora_down.", "lora_up.") for name in others]
    others += ["lora_unet_down_blocks_0_to_q.alpha", "down_blocks.0.to_q.weight"]
    weights = {name: torch.zeros(1) for name in [*names, *others]}
    assert len(weights) == 2 * len(names) + 2
    save_file(weights, tmp_path / FILE)
    assert matrices(tmp_path / FILE) == len(names)
