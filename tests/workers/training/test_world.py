"""The world: its scenes, renders and captions, and the judge that reads them back."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from workers.training.judge import judge, overlap
from workers.training.world import (
    LANGUAGES,
    Scene,
    all_scenes,
    box,
    caption,
    random_scene,
    render,
)

FEMININE = {"حمراء", "خضراء", "زرقاء", "صفراء", "برتقالية", "بنفسجية", "سوداء"}
MASCULINE = {"أحمر", "أخضر", "أزرق", "أصفر", "برتقالي", "بنفسجي", "أسود"}


def scenes(count: int, seed: int = 7) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [random_scene(rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("words", "english", "arabic", "french"),
    [
        (
            ("circle", "red", "large", "white"),
            "a large red circle on a white background",
            "دائرة حمراء كبيرة على خلفية بيضاء",
            "un grand cercle rouge sur un fond blanc",
        ),
        (
            ("square", "purple", "small", "gray"),
            "a small purple square on a gray background",
            "مربع بنفسجي صغير على خلفية رمادية",
            "un petit carré violet sur un fond gris",
        ),
        (
            ("triangle", "orange", "large", "black"),
            "a large orange triangle on a black background",
            "مثلث برتقالي كبير على خلفية سوداء",
            "un grand triangle orange sur un fond noir",
        ),
    ],
)
def test_captions(words: tuple[str, ...], english: str, arabic: str, french: str) -> None:
    scene = Scene(*words)
    assert [caption(scene, language) for language in LANGUAGES] == [english, arabic, french]


def test_adjectives_agree_in_every_combination() -> None:
    everything = list(all_scenes())
    assert len(everything) == len(set(everything)) == 192
    for scene in everything:
        noun, colour, size, _, ground, tone = caption(scene, "arb_Arab").split()
        feminine = noun == "دائرة"
        assert feminine == (scene.shape == "circle")
        assert colour in (FEMININE if feminine else MASCULINE)
        assert size.endswith("ة") == feminine
        assert ground == "خلفية"
        assert tone in FEMININE | {"بيضاء", "رمادية"}
        article, size, noun, colour, _, _, ground, tone = caption(scene, "fra_Latn").split()
        assert article == "un"
        assert size in ("petit", "grand")
        assert noun in ("cercle", "carré", "triangle")
        assert colour in ("rouge", "vert", "bleu", "jaune", "orange", "violet", "noir")
        assert (ground, tone in ("blanc", "gris", "noir", "jaune", "bleu")) == ("fond", True)
    for language in LANGUAGES:
        assert len({caption(scene, language) for scene in everything}) == 192


def test_captions_can_leave_things_out() -> None:
    scene = Scene("circle", "red", "large", "white")
    assert caption(scene, said=()) == "a circle"
    assert caption(scene, "arb_Arab", ["colour"]) == "دائرة حمراء"
    assert caption(scene, "fra_Latn", ["size", "ground"]) == "un grand cercle sur un fond blanc"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be seen"):
        Scene("circle", "black", "large", "black")
    with pytest.raises(ValueError, match="'hexagon'"):
        Scene("hexagon", "red", "large", "white")
    with pytest.raises(ValueError, match="deu_Latn"):
        caption(Scene("circle", "red", "large", "white"), "deu_Latn")


def test_same_seed_same_picture() -> None:
    one, other = (render(scenes(5)[4], 96, 64) for _ in range(2))
    assert one.size == (96, 64)
    assert one.tobytes() == other.tobytes()


def test_shapes_are_fully_inside() -> None:
    for scene in scenes(200):
        for width, height in ((64, 64), (300, 200), (90, 160)):
            left, top, right, bottom = box(scene, width, height)
            assert 0 < left < right < width
            assert 0 < top < bottom < height


def noisy(picture: Image.Image, deviation: float) -> Image.Image:
    rng = np.random.default_rng(picture.tobytes()[0])
    pixels = np.asarray(picture, np.float32)
    pixels = pixels + rng.normal(0, deviation, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def blurred(picture: Image.Image, radius: float = 1.5) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda picture: picture, id="clean"),
        pytest.param(blurred, id="blurred"),
        pytest.param(lambda picture: noisy(picture, 20), id="noisy"),
        pytest.param(lambda picture: noisy(blurred(picture, 1), 12), id="both"),
    ],
)
def test_judge_makes_no_error(change: Callable[[Image.Image], Image.Image]) -> None:
    for scene in scenes(200):
        verdict = judge(change(render(scene)))
        assert verdict is not None
        assert verdict.words == scene.words
        truth = [edge / 64 for edge in box(scene)]
        assert overlap(verdict.box, (truth[0], truth[1], truth[2], truth[3])) > 0.6


@pytest.mark.parametrize("side", [(768, 512), (48, 48), (150, 200)])
def test_judge_reads_any_size(side: tuple[int, int]) -> None:
    for scene in scenes(30):
        verdict = judge(render(scene, *side))
        assert verdict is not None
        assert verdict.words == scene.words


def test_judge_sees_nothing_in_a_plain_picture() -> None:
    assert judge(Image.new("RGB", (64, 64), "white")) is None
    assert judge(noisy(Image.new("RGB", (64, 64), (150, 150, 150)), 10)) is None


def test_world_and_judge_need_no_torch() -> None:
    script = "import sys, workers.training.judge; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
