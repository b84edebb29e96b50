"""The DeepFloyd IF cascade, random weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.errors import ModelNotAvailable, PredictionFailed
from tests.checkpoints.cascade import SIDES, deepfloyd_if, with_if_safety_checker
from tests.workers.families import Recorder
from workers.diffusion.cascade import FIRST, LATER, Cascade
from workers.diffusion.denoising import Watch
from workers.predictor import Batch, Checkpoint

Folders = tuple[Path, Path, Path]
SETTINGS = {"super_resolution": {"steps": 2}, "upscale": {"steps": 2}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return deepfloyd_if(tmp_path_factory.mktemp("cascade"))


def load(
    folders: tuple[Path, ...],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> Cascade:
    first, *parts = folders
    checkpoint = Checkpoint("if", first, "r", parts=tuple(parts), settings={**SETTINGS, **settings})
    return Cascade.load(checkpoint, device, dtype)


@pytest.fixture(scope="module")
def cascade(folders: Folders) -> Cascade:
    return load(folders)


@pytest.fixture(scope="module")
def pair(folders: Folders) -> Cascade:
    """Stages I and II alone, which need less time."""
    return load(folders[:2])


def sample(seed: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"picture {seed}", "negative_prompt": None, "seed": seed, **more}


def draw(
    cascade: Cascade, samples: list[dict[str, Any]], size: int = 3, **params: Any
) -> list[bytes]:
    drawn: list[bytes] = []
    for _, part in cascade.split(Batch("if", {"steps": 2, **params}, size, samples)):
        pictures = cascade.draw(part, Watch(Recorder()))
        assert pictures is not None
        drawn += [each.tobytes() for each in pictures]
    assert len(drawn) == len(samples)
    return drawn


def test_a_picture_is_the_same_in_any_company(cascade: Cascade) -> None:
    samples = [sample(1), sample(2, negative_prompt="ugly"), sample(3)]
    alone = [draw(cascade, [each])[0] for each in samples]
    assert len(set(alone)) == 3
    assert draw(cascade, samples) == alone
    assert draw(cascade, samples[:0:-1]) == alone[:0:-1]


@pytest.mark.parametrize(("stages", "side"), [(2, SIDES[1]), (3, SIDES[2])])
def test_the_last_stage_decides_the_size(folders: Folders, stages: int, side: int) -> None:
    batch = Batch("if", {"steps": 2, "width": 512, "height": 256}, 2, [sample(1)])
    (picture,) = load(folders[:stages]).draw(batch, Watch(Recorder())) or []
    assert (picture.size, picture.mode) == ((side, side), "RGB")
    assert np.asarray(picture).std() > 1


def test_prompts_seed_and_every_parameter_count(pair: Cascade) -> None:
    drawn = {
        draw(pair, [each], size=1, **params)[0]
        for each, params in [
            (sample(1), {}),
            (sample(2), {}),
            (sample(1, prompt="something else"), {}),
            (sample(1, negative_prompt="ugly"), {}),
            (sample(1), {"steps": 3}),
            (sample(1), {"guidance": 1.0}),
        ]
    }
    assert len(drawn) == 6


def test_the_upscaler_reads_both_prompts(cascade: Cascade) -> None:
    """What its text encoder is given: negative prompts in one call, prompts in another."""
    upscaler, _ = cascade.later[1]
    read: list[str] = []

    def spell(encoder: Any, tokens: tuple[Any, ...]) -> None:
        read.extend(upscaler.tokenizer.batch_decode(tokens[0], skip_special_tokens=True))

    hook = upscaler.text_encoder.register_forward_pre_hook(spell)
    try:
        draw(cascade, [sample(1, prompt="cat", negative_prompt="ugly")], size=1)
    finally:
        hook.remove()
    assert [text.replace(" ", "") for text in read] == ["cat", "ugly"]


@pytest.mark.parametrize(
    "change",
    [
        {"super_resolution": {"steps": 3}},
        {"super_resolution": {"steps": 2, "guidance": 1.0}},
        {"super_resolution": {"steps": 2, "noise_level": 0}},
    ],
)
def test_settings_reach_the_later_stages(
    folders: Folders, pair: Cascade, change: dict[str, Any]
) -> None:
    assert draw(load(folders[:2], **change), [sample(1)], size=1) != draw(pair, [sample(1)], size=1)


def test_the_published_settings_are_the_defaults() -> None:
    runs = [FIRST, *(run for _, run in LATER.values())]
    assert [(run.steps, run.guidance, run.noise_level) for run in runs] == [
        (100, 7.0, 0),
        (50, 4.0, 250),
        (75, 9.0, 100),
    ]


def test_a_batch_leaves_no_trace_in_the_next(pair: Cascade) -> None:
    before = draw(pair, [sample(1)], size=1)
    draw(pair, [sample(2, negative_prompt="ugly")], size=2, steps=5, guidance=0.0)
    assert draw(pair, [sample(1)], size=1) == before


def test_stages_that_are_moved_for_each_run_draw_the_same(cascade: Cascade) -> None:
    """Moved between two names of one processor: the path is taken, and no weights get lost."""
    moving = replace(cascade, device="cpu:0")
    assert draw(moving, [sample(1)], size=1) == draw(cascade, [sample(1)], size=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_stages_rest_off_the_gpu(folders: Folders) -> None:
    here = load(folders, device="cuda:0", dtype=torch.float16)
    away = load(folders, device="cuda:0", dtype=torch.float16, offload=True)
    assert draw(away, [sample(1)], size=1) == draw(here, [sample(1)], size=1)
    for cascade, place in ((here, "cuda"), (away, "cpu")):
        pipes = [cascade.encoder, cascade.first, *(pipe for pipe, _ in cascade.later)]
        assert {pipe.device.type for pipe in pipes} == {place}


def test_steps_of_all_stages_are_counted_together(cascade: Cascade) -> None:
    recorder = Recorder()
    cascade.draw(Batch("if", {"steps": 3}, 1, [sample(1)]), Watch(recorder, number=1, parts=2))
    assert recorder.steps == [(7 + i, 14, f"step {i} of 7") for i in range(1, 8)]


def test_no_more_steps_than_stage_one_was_trained_for(pair: Cascade) -> None:
    recorder = Recorder(most=1)
    assert pair.draw(Batch("if", {"steps": 5000}, 1, [sample(1)]), Watch(recorder)) is None
    assert recorder.steps == [(1, 1002, "step 1 of 1002")]


@pytest.mark.parametrize("most", [1, 4, 6])
def test_a_cancel_stops_any_stage_at_its_next_step(cascade: Cascade, most: int) -> None:
    recorder = Recorder(most)
    batch = Batch("if", {"steps": 3}, 1, [sample(1)])
    assert cascade.draw(batch, Watch(recorder)) is None
    assert len(recorder.steps) == most
    assert draw(cascade, [sample(1)], size=1)  # and the next batch is not stopped


def test_what_a_cascade_cannot_do_is_named(pair: Cascade) -> None:
    with pytest.raises(PredictionFailed, match="if cannot do image-to-image"):
        draw(pair, [sample(1)], task="image-to-image")
    with pytest.raises(PredictionFailed, match="if takes no loras, scheduler"):
        draw(pair, [sample(1)], scheduler="euler", loras=[])


def test_stages_in_the_wrong_order_or_number(folders: Folders, tmp_path: Path) -> None:
    first, second, third = folders
    with pytest.raises(ModelNotAvailable, match="holds no IFSuperResolutionPipeline, but Stable"):
        load((first, third, second))
    with pytest.raises(ModelNotAvailable, match="1 or 2 later stages, not 0"):
        load((first,))
    with pytest.raises(ModelNotAvailable, match="holds no checkpoint"):
        load((first, tmp_path))


@pytest.mark.parametrize("wrong", [{"stepz": 3}, {"steps": 0}, 3])
def test_wrong_settings_are_named(folders: Folders, wrong: Any) -> None:
    with pytest.raises(ModelNotAvailable, match=r"settings\.super_resolution"):
        load(folders[:2], super_resolution=wrong)


def test_pickled_weights_of_a_later_stage_are_not_loaded(tmp_path: Path) -> None:
    folders = deepfloyd_if(tmp_path)
    weights = folders[1] / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelNotAvailable, match="pickled"):
        load(folders)


@pytest.mark.parametrize(("score", "verdict"), [(0.4, False), (0.6, True)])
def test_its_own_safety_checker_judges_and_changes_nothing(
    tmp_path: Path, pair: Cascade, score: float, verdict: bool
) -> None:
    folders = deepfloyd_if(tmp_path)
    with_if_safety_checker(folders[0], score)
    checked = load(folders[:2])
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "white")]
    assert checked.unsafe(pictures) == [verdict, verdict]
    assert [each.getextrema()[0] for each in pictures] == [(255, 255), (255, 255)]
    assert draw(checked, [sample(1)], size=1) == draw(pair, [sample(1)], size=1)
    assert pair.unsafe(pictures) is None
