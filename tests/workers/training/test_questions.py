"""Questions about the world: what may be asked, and what is right."""

import subprocess
import sys

import pytest

from workers.training.questions import PHRASES, answer, questions
from workers.training.world import SHAPES, Scene, all_scenes

SCENE = Scene("triangle", "orange", "small", "gray")


@pytest.mark.parametrize(
    ("topic", "plain", "right"),
    [
        ("colour", "what colour is the shape?", "orange"),
        ("shape", "what shape is it?", "triangle"),
        ("size", "how large is it?", "small"),
        ("large", "is it large?", "no"),
        ("small", "is the shape small?", "yes"),
        ("background", "what colour is the background?", "gray"),
    ],
)
def test_answers(topic: str, plain: str, right: str) -> None:
    assert plain in questions(topic)
    assert answer(SCENE, topic) == right


def test_no_question_belongs_to_two_topics() -> None:
    asked = [text for topic in PHRASES for text in questions(topic, "circle")]
    assert len(asked) == len(set(asked)) > 100


def test_no_question_tells_its_answer() -> None:
    assert "what color is the circle?" in questions("colour", "circle")
    for text in questions("shape", "circle"):
        assert not any(shape in text for shape in SHAPES)


def test_spellings_and_names_are_filled_in() -> None:
    asked = questions("colour")
    assert {"what colour is it?", "which color is this?"} <= set(asked)
    assert not any("{" in text for topic in PHRASES for text in questions(topic))


def test_answers_are_one_word_and_all_occur() -> None:
    answers = {topic: {answer(scene, topic) for scene in all_scenes()} for topic in PHRASES}
    assert answers["large"] == answers["small"] == {"yes", "no"}
    assert answers["shape"] == set(SHAPES)
    assert not any(" " in word for words in answers.values() for word in words)


def test_other_topics_are_refused() -> None:
    with pytest.raises(ValueError, match="'weight'"):
        answer(SCENE, "weight")


def test_questions_need_no_torch() -> None:
    script = "import sys, workers.training.questions; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
