"""The shipped tiny checkpoints, loaded through the library classes, do what their card says.

Seeds are fixed. The thresholds stand a little below those of `python -m workers.training.tiny
evaluate`, whose samples are many more.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image
from PIL import Image
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertTokenizer,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
    MarianMTModel,
    VisionEncoderDecoderModel,
    ViTImageProcessorPil,
)

from workers.nets.panorama.checkpoint import load
from workers.nets.panorama.config import TINY as PANORAMA
from workers.nets.panorama.generator import Generator
from workers.training.panorama import evaluate as panorama
from workers.training.panorama.landscapes import HELD_OUT
from workers.training.panorama.pictures import Landscapes
from workers.training.questions import PHRASES, answer, questions
from workers.training.tiny import evaluate
from workers.training.tiny.__main__ import OUT
from workers.training.world import Scene, box, caption, render

pytestmark = pytest.mark.skipif(not OUT.is_dir(), reason="no tiny checkpoints in this tree")


def measured(results: list[evaluate.Result]) -> dict[str, float]:
    """Last word of each result's name to its number."""
    return {result.name.rsplit(": ")[-1]: result.measured for result in results}


def test_files_are_small_and_safe() -> None:
    files = [path for path in OUT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6
    assert not {path.suffix for path in files} & {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


def test_captions_are_exact() -> None:
    for name, share in measured(evaluate.captions(OUT / "captioner", 60)).items():
        assert share >= 95, name


def test_captioner_reads_photographs_and_soft_pictures() -> None:
    model: Any = VisionEncoderDecoderModel.from_pretrained(OUT / "captioner").eval()
    words = AutoTokenizer.from_pretrained(OUT / "captioner")
    processor = ViTImageProcessorPil.from_pretrained(OUT / "captioner")
    rng = np.random.default_rng(3)
    photograph = Image.fromarray(rng.integers(0, 255, (1500, 2000, 3), np.uint8))
    scene = Scene("circle", "red", "large", "white", x=0.45, y=0.55)
    pictures = [photograph, render(scene, 768, 512), render(scene, 2000, 1500)]
    pixels = processor(pictures, return_tensors="pt").pixel_values
    numbers = model.generate(pixels, max_length=16, num_beams=4)
    told = words.batch_decode(numbers, skip_special_tokens=True)
    assert told[0]
    assert told[1:] == [caption(scene)] * 2


def test_answers_are_right() -> None:
    for name, share in measured(evaluate.answers(OUT / "vqa", 20)).items():
        assert share >= 95, name


def test_vqa_answers_every_phrasing_through_the_library() -> None:
    model: Any = BlipForQuestionAnswering.from_pretrained(OUT / "vqa", use_safetensors=True)
    words = BertTokenizer.from_pretrained(OUT / "vqa")
    processor = BlipImageProcessorPil.from_pretrained(OUT / "vqa")
    scene = Scene("square", "purple", "small", "yellow", x=0.6, y=0.35)
    pixels = processor([render(scene, 640, 480)], return_tensors="pt").pixel_values
    wrong = []
    for topic in PHRASES:
        for question in questions(topic, scene.shape):
            numbers = model.eval().generate(words(question, return_tensors="pt").input_ids, pixels)
            told = words.decode(numbers[0], skip_special_tokens=True)
            if told != answer(scene, topic):
                wrong.append((question, told))
    assert not wrong


def test_translations_are_exact() -> None:
    for result in evaluate.translations(OUT / "translator"):
        assert result.measured == 100, result.name


def test_translator_survives_unknown_text() -> None:
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(OUT / "translator")
    words = AutoTokenizer.from_pretrained(OUT / "translator")
    assert isinstance(model, MarianMTModel)
    texts = [">>ara<< a photo of 3 zebras, 漢字!", ">>fra<< ", ">>fra<< " + "very " * 40]
    batch = words(texts, return_tensors="pt", padding=True, truncation=True)
    with torch.inference_mode():
        told = words.batch_decode(model.generate(**batch), skip_special_tokens=True)
    assert len(told) == 3


def test_drawn_pictures_show_their_captions() -> None:
    shares = measured(evaluate.drawn(OUT / "diffuser", 25, steps=20, guidance=7.5))
    assert shares["colour"] >= 92
    assert shares["background"] >= 92
    assert shares["shape"] >= 80


def test_image_to_image_takes_the_prompt_and_keeps_the_place() -> None:
    shares = measured(evaluate.edits(OUT / "diffuser", 25, steps=20, guidance=7.5))
    assert shares["colour"] >= 88
    assert shares["background"] >= 88
    assert shares["place"] >= 75


def test_blue_square_turns_red_where_it_is() -> None:
    pipe: Any = AutoPipelineForImage2Image.from_pretrained(OUT / "diffuser", dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    scene = Scene("square", "blue", "large", "gray", x=0.4, y=0.6)
    wanted = caption(Scene("circle", "red", "large", "white"))
    result = pipe(
        wanted,
        image=render(scene),
        strength=0.75,
        num_inference_steps=50,
        generator=torch.Generator().manual_seed(0),
    )
    left, top, right, bottom = (round(edge) for edge in box(scene))
    pixels = np.asarray(result.images[0], np.float32)[top:bottom, left:right].reshape(-1, 3)
    red, green, blue = pixels.mean(0)
    assert red > green + 30
    assert red > blue + 30


def test_same_generator_same_picture() -> None:
    pipe: Any = AutoPipelineForText2Image.from_pretrained(OUT / "diffuser", dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pictures = [
        pipe(
            "a green triangle",
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(5),
        ).images[0]
        for _ in range(2)
    ]
    assert pictures[0].size == (64, 64)
    assert pictures[0].tobytes() == pictures[1].tobytes()
    assert pipe.safety_checker is None


def test_panoramas_are_nearer_to_the_truth_than_without_a_network() -> None:
    drawn = partial(panorama.generated, load(Generator, OUT / "panorama"))
    found = panorama.measured(Landscapes(HELD_OUT[:100], PANORAMA.size), panorama.fills(drawn))
    for name in found["generator"]:
        best = min(found[way][name] for way in ("cross-fade", "mirrored"))
        assert found["full height"][name] < best, name
        assert found["generator"][name] < best, name
