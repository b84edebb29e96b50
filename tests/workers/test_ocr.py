"""OCR of rendered text with the models in rapidocr's wheel, and EasyOCR where it is installed."""

import json
import socket
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops

from shared.errors import ModelNotAvailable, PredictionFailed
from tests import texts
from tests.workers.families import Recorder, noise
from workers.families.ocr import Ocr
from workers.ocr.easy_files import fetch
from workers.ocr.rapid import PIXELS, for_detector, upright
from workers.ocr.regions import Region, annotated, in_reading_order
from workers.predictor import Batch, Checkpoint

rapidocr = pytest.importorskip("rapidocr")
PACKAGE = Path(rapidocr.__file__).parent
WHITE, THREE = (255, 255, 255), texts.SENTENCES[:3]


@pytest.fixture(scope="module")
def ocr() -> Ocr:
    ocr = Ocr("cpu")
    ocr.load(Checkpoint("rapidocr", PACKAGE, "r"))
    return ocr


def read(ocr: Ocr, *pictures: Image.Image, size: int = 1, **params: Any) -> list[dict[str, Any]]:
    samples = [{"image": picture} for picture in pictures]
    return ocr.predict(Batch("rapidocr", params, size, samples), Recorder())


def test_words_are_read_exactly(ocr: Ocr) -> None:
    words, right = Counter[Any](), Counter[Any]()
    for page in texts.pages():
        (result,) = read(ocr, page.picture)
        exact = texts.exact(page.words, result["text"].split())
        for group in (page.font, page.size, "all"):
            words[group] += len(page.words)
            right[group] += exact
    assert words["all"] >= 300
    assert right["all"] / words["all"] >= 0.95
    assert {group: right[group] / words[group] for group in words if group != "all"} == {
        group: pytest.approx(1, abs=0.1) for group in words if group != "all"
    }


def test_a_box_surrounds_its_text(ocr: Ocr) -> None:
    picture = Image.new("RGB", (900, 400), WHITE)
    word = texts.render(["Hello"], size=40)
    picture.paste(word, (500, 150))
    (result,) = read(ocr, picture)
    assert json.loads(json.dumps(result["regions"])) == result["regions"]
    (region,) = result["regions"]
    assert region["text"] == result["text"] == "Hello"
    assert 0.9 < region["confidence"] <= 1
    left, top, right, bottom = ImageChops.invert(picture.convert("L")).getbbox() or (0, 0, 0, 0)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    for (x, y), (outer_x, outer_y) in zip(region["box"], corners, strict=True):
        assert abs(x - outer_x) < 15
        assert abs(y - outer_y) < 15
    assert region["box"][0] < [left, top]
    assert region["box"][2] > [right, bottom]


def test_a_picture_shows_the_boxes(ocr: Ocr) -> None:
    picture = texts.render(["Hello"], size=40)
    before = picture.copy()
    (result,) = read(ocr, picture)
    assert picture == before
    assert result["image"].size == picture.size
    assert result["image"].mode == "RGB"
    changed = ImageChops.difference(picture, result["image"]).getbbox()
    assert changed is not None
    xs, ys = zip(*result["regions"][0]["box"], strict=True)
    assert changed[0] <= min(xs) + 1
    assert changed[3] >= max(ys) - 1


def test_letters_that_the_font_lacks_are_not_drawn() -> None:
    picture = Image.new("RGB", (200, 100), WHITE)
    box = ((20.0, 40.0), (180.0, 40.0), (180.0, 60.0), (20.0, 60.0))
    latin, arabic = (annotated(picture, [Region(box, text, 1, (1, 0))]) for text in ("a", "مرحبا"))
    outline = ImageChops.difference(picture, arabic).getbbox()
    assert outline == (20, 40, 181, 61)
    assert ImageChops.difference(picture, latin).getbbox() != outline


@pytest.mark.parametrize("degrees", [5, 90, 180, 200, 270])
def test_a_page_may_lie_any_way_up(ocr: Ocr, degrees: int) -> None:
    page = texts.render(THREE, size=28)
    page = page.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=WHITE)
    assert read(ocr, page)[0]["text"] == " ".join(THREE)


def test_lines_are_read_from_the_left_and_from_the_top(ocr: Ocr) -> None:
    picture = Image.new("RGB", (900, 500), WHITE)
    for place, text in {
        (500, 10): "second",
        (20, 20): "first",
        (20, 300): "last",
        (600, 150): "fourth",
        (20, 145): "third",
    }.items():
        picture.paste(texts.render([text], size=36), place)
    (result,) = read(ocr, picture)
    assert result["text"] == "first second third fourth last"
    assert [region["text"] for region in result["regions"]] == result["text"].split()


def at(x: float, y: float, text: str, height: float = 20) -> Region:
    box = ((x, y), (x + 90, y), (x + 90, y + height), (x, y + height))
    return Region(box, text, 1.0, (90, 0))


def test_scripts_are_read_in_their_own_direction() -> None:
    words = [at(0, 3, "שלום"), at(100, 0, "טוב"), at(0, 40, "one"), at(100, 44, "two")]
    assert [region.text for region in in_reading_order(words)] == ["טוב", "שלום", "one", "two"]


def test_a_tall_word_shares_the_line_of_small_ones() -> None:
    words = [at(0, 0, "Big", 60), at(100, 35, "small"), at(200, 33, "more"), at(0, 70, "next")]
    for shuffled in (words, words[::-1]):
        assert " ".join(each.text for each in in_reading_order(shuffled)) == "Big small more next"


def gradient() -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, 320), np.linspace(0, 255, 240))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (400, 300), WHITE),
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (8, 8), (200, 0, 0)),
        Image.new("RGB", (5000, 2), WHITE),
        Image.new("RGB", (2, 5000), WHITE),
        noise(1, 8, 8),
        noise(2, 320, 240),
        noise(3, 3000, 4),
        gradient(),
    ],
    ids=lambda picture: "x".join(map(str, picture.size)),
)
def test_without_text_there_is_nothing(ocr: Ocr, picture: Image.Image) -> None:
    (result,) = read(ocr, picture)
    assert (result["text"], result["regions"]) == ("", [])
    assert result["image"] == picture


def test_a_large_picture_is_read_in_full_detail(ocr: Ocr) -> None:
    picture = Image.new("RGB", (6000, 4000), WHITE)
    picture.paste(texts.render(THREE, size=40), (2500, 1700))
    pixels, scale = for_detector(picture)
    assert pixels.shape[0] * pixels.shape[1] < 1.1 * PIXELS
    assert scale < 0.25
    assert read(ocr, picture)[0]["text"] == " ".join(THREE)


def test_a_long_strip_is_read(ocr: Ocr) -> None:
    strip = texts.render(["     ".join(texts.SENTENCES[:8])], size=24)
    words = " ".join(texts.SENTENCES[:8]).split()
    assert strip.width > 40 * strip.height / 2
    assert texts.exact(words, read(ocr, strip)[0]["text"].split()) >= 0.95 * len(words)


def test_a_line_without_end_takes_bounded_memory(ocr: Ocr) -> None:
    picture = texts.render(["x" * 4000], size=16)
    (box,) = ocr._readers["rapidocr"]._boxes(picture)
    height, width, _ = upright(picture, box).shape
    assert width <= 200 * height < picture.width / 2
    label = annotated(picture, [Region(box, "x" * 4000, 1.0, (9, 0))])
    assert label.size == picture.size


def test_a_result_is_the_same_in_any_company(ocr: Ocr) -> None:
    pictures = [
        texts.render([line], size=size)
        for line, size in zip(texts.SENTENCES[:4], (14, 20, 30, 40), strict=True)
    ]
    alone = [read(ocr, picture)[0] for picture in pictures]
    assert len({result["text"] for result in alone}) == 4
    assert read(ocr, *pictures, size=8) == alone
    assert read(ocr, *pictures[::-1], size=4) == alone[::-1]


def test_every_picture_is_reported_and_a_cancel_stops(ocr: Ocr) -> None:
    samples = [{"image": texts.render([line], size=20)} for line in THREE]
    recorder, stopped = Recorder(), Recorder(most=2)
    assert len(ocr.predict(Batch("rapidocr", {}, 4, samples), recorder)) == 3
    assert recorder.steps[-1] == (3, 3, "picture 3 of 3")
    assert ocr.predict(Batch("rapidocr", {}, 4, samples), stopped) == []
    assert len(stopped.steps) == 2


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    ocr = Ocr("cpu")
    ocr.load(Checkpoint("rapidocr", PACKAGE, "r"))
    assert read(ocr, texts.render(["Hello"]), languages=["fr", "ch"])[0]["text"] == "Hello"


@pytest.mark.parametrize("language", ["ar", "ru", "ko", "vi", "xx"])
def test_a_language_without_a_model_is_refused(ocr: Ocr, language: str) -> None:
    with pytest.raises(PredictionFailed, match=f"does not read {language}; it reads .*en"):
        read(ocr, texts.render(["Hello"]), languages=["en", language])


def test_letters_with_marks_are_read(ocr: Ocr) -> None:
    words = ["Größe", "déjà", "señor", "Łódź", "żółty", "příliš", "čaša", "blåbær", "ţară"]
    (result,) = read(ocr, texts.render(words, size=36), languages=["de", "fr", "es", "pl", "ro"])
    assert texts.exact(words, result["text"].split()) >= 8


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    ocr = Ocr("cpu")
    with pytest.raises(ModelNotAvailable, match="magic is no OCR engine; known are rapidocr, easy"):
        ocr.load(Checkpoint("x", tmp_path, "r", settings={"engine": "magic"}))
    with pytest.raises(ModelNotAvailable, match=r"holds no PP-OCRv6_det_small\.onnx"):
        ocr.load(Checkpoint("x", tmp_path, "r"))


def test_a_model_is_forgotten(ocr: Ocr) -> None:
    other = Ocr("cpu")
    other.load(Checkpoint("rapidocr", PACKAGE, "r"))
    other.unload("rapidocr")
    with pytest.raises(KeyError):
        read(other, texts.render(["Hello"]))


def test_torch_is_not_needed() -> None:
    script = (
        "import sys; from workers.families.ocr import Ocr, ENGINES; import workers.ocr.rapid; "
        "sys.exit('torch' in sys.modules or 'easyocr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture(scope="module")
def easy() -> Ocr:
    pytest.importorskip("easyocr", exc_type=ImportError)
    folder = Path(pytest.importorskip("easyocr_en_models").__file__).parent / "models"
    ocr = Ocr("cpu")
    ocr.load(Checkpoint("rapidocr", folder, "r", settings={"engine": "easyocr"}))
    return ocr


class TestEasyOcr:
    def test_it_is_refused_where_it_is_missing(self, tmp_path: Path) -> None:
        if find_spec("easyocr"):
            pytest.skip("easyocr is installed")
        checkpoint = Checkpoint("easyocr", tmp_path, "r", settings={"engine": "easyocr"})
        told = r"easyocr is not installed: pip install 'imagemill-server\[easyocr\]'"
        with pytest.raises(ModelNotAvailable, match=told):
            Ocr("cpu").load(checkpoint)
        with pytest.raises(ModelNotAvailable, match=told):
            fetch(tmp_path, ["en"])

    def test_it_reads(self, easy: Ocr) -> None:
        lines = texts.SENTENCES[1:4]
        (result,) = read(easy, texts.render(lines, size=40))
        words = " ".join(lines).split()
        assert texts.exact(words, result["text"].split()) >= 0.9 * len(words)
        assert json.loads(json.dumps(result["regions"])) == result["regions"]

    def test_without_text_there_is_nothing(self, easy: Ocr) -> None:
        for picture in (Image.new("RGB", (1, 1)), Image.new("RGB", (5000, 2)), gradient()):
            assert read(easy, picture)[0]["regions"] == []

    def test_other_languages_are_refused(self, easy: Ocr) -> None:
        picture = texts.render(["Hello"])
        with pytest.raises(PredictionFailed, match="easyocr does not read xx"):
            read(easy, picture, languages=["xx"])
        with pytest.raises(PredictionFailed, match="together"):
            read(easy, picture, languages=["ch_sim", "ru"])
        with pytest.raises(ModelNotAvailable, match="no weights"):
            read(easy, picture, languages=["ru"])
