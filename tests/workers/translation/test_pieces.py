"""Cutting text: nothing is lost, everything fits, and sentences stay whole where they can."""

import random

import pytest

from workers.translation.pieces import PIECE, clean, lines_of, pieces_of, sentences


def bare(text: str) -> str:
    return "".join(text.split())


HARD = {
    "sentences": "One. Two! Three? " * 20,
    "no punctuation": "no end in sight " * 400,
    "one word": "x" * 8000,
    "one word and more": "a " + "y" * 300 + " b. " + "c " * 90,
    "letters": "a " * 4000,
    "chinese": "一。二！三？" * 100,
    "chinese without an end": "一二三四五六七八" * 100,
    "arabic": "مرحبا بكم، كيف حالك؟ أنا بخير؛ شكرا۔ " * 40,
    "thai": "สวัสดีครับวันนี้อากาศดี" * 60,
    "hindi": "नमस्ते। आप कैसे हैं॥ " * 40,
    "emoji": "👨‍👩‍👧🏽🎉" * 200,
    "dots": ". " * 2000,
    "spaces within": "a" + " " * 4000 + "b",
    "combining": "e" + "\u0301" * 600,
}


@pytest.mark.parametrize("name", HARD)
def test_pieces_lose_nothing_and_fit(name: str) -> None:
    pieces = pieces_of(HARD[name].strip(), len, 100)
    assert bare("".join(pieces)) == bare(HARD[name])
    assert all(0 < len(piece) < 100 and piece == piece.strip() for piece in pieces)


def test_random_text_loses_nothing() -> None:
    draw = random.Random(1)
    for _ in range(200):
        text = "".join(draw.choices("ab .,!?。؟\u0301\u200d-1\"'", k=draw.randint(1, 400))).strip()
        pieces = pieces_of(text, lambda part: 3 + len(part), 40, draw.choice((10, 40)))
        assert bare("".join(pieces)) == bare(text)
        assert all(3 + len(piece) < 40 for piece in pieces)


def test_pieces_are_sentences_packed() -> None:
    assert pieces_of("One. Two.", len, 100) == ["One. Two."]
    assert pieces_of("A first one. " * 10, len, 100)[0].endswith("one.")
    longest = max(map(len, pieces_of("One. Two! Three? " * 20, len, 100)))
    assert 50 < longest < PIECE
    long = "This sentence is longer than a piece, but it is within the limit and stays whole."
    assert pieces_of(f"Short. {long} Short.", len, 100) == ["Short.", long, "Short."]


def test_a_sentence_that_is_too_long_is_cut_at_a_clause() -> None:
    text = "when the first clause ends, " * 6
    assert all(piece.endswith("ends,") for piece in pieces_of(text.strip(), len, 100))


def test_counting_takes_linear_time() -> None:
    counted = 0

    def length(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return len(text)

    pieces_of("a " * 4000, length, 512)
    assert counted < 20 * 8000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is 3.5 km. Go on.", ["It is 3.5 km.", "Go on."]),
        ("Dr. Smith met Mrs. Jones. They left.", ["Dr. Smith met Mrs. Jones.", "They left."]),
        ("J. R. Smith came. He sat.", ["J. R. Smith came.", "He sat."]),
        ("Fruit, e.g. Apples. More.", ["Fruit, e.g. Apples.", "More."]),
        ("The U.S. Army. Here.", ["The U.S. Army.", "Here."]),
        ("See No. 5 and fig. 3. End.", ["See No. 5 and fig. 3.", "End."]),
        ("apples etc. and pears. Done.", ["apples etc. and pears.", "Done."]),
        ('"Really?" she said. "Yes." Good.', ['"Really?" she said.', '"Yes."', "Good."]),
        ("What?! No... Well… yes.", ["What?!", "No...", "Well… yes."]),
        ("你好。「是吗？」他说。", ["你好。", "「是吗？」", "他说。"]),
        ("كيف حالك؟ بخير۔ نعم.", ["كيف حالك؟", "بخير۔", "نعم."]),
        ("नमस्ते। ठीक॥ हाँ", ["नमस्ते।", "ठीक॥", "हाँ"]),
        ("ሰላም። እንዴት ነህ።", ["ሰላም።", "እንዴት ነህ።"]),
        ("v1.2.3 is out! See a.b.c", ["v1.2.3 is out!", "See a.b.c"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert "".join(sentences(text)) == text
    assert [sentence.strip() for sentence in sentences(text)] == expected


@pytest.mark.parametrize("text", ["👨‍👩‍👧" * 90, "é" * 90, "กำ" * 90, "👍🏽" * 90])
def test_what_is_seen_as_one_character_stays_whole(text: str) -> None:
    for piece in pieces_of(text, len, 40):
        assert piece[0] not in "\u0301\u200d\U0001f3fd"
        assert piece[-1] != "\u200d"


def test_lines_and_what_stands_between_them() -> None:
    text = "  Hello. \r\n\n - one\n\t2) two  \n---\n🎉 \n\tend"
    lines = lines_of(text)
    assert [line for _, line in lines] == ["Hello.", "one", "two", "end", ""]
    assert lines[1][0] == " \r\n\n - "
    assert lines[3][0] == "  \n---\n🎉 \n\t"
    assert "".join(gap + line for gap, line in lines) == text
    assert lines_of("plain") == [("", "plain"), ("", "")]
    assert lines_of("2.5 km") == [("", "2.5 km"), ("", "")]
    for empty in ("", " \n ", "🎉", "- - -", "\u200f"):
        assert lines_of(empty) == [(empty, "")]


def test_what_no_tokenizer_takes_is_left_out() -> None:
    assert clean("a\ud800b \udc00") == "a\ufffdb \ufffd"
    assert clean("\ud83d\ude00") == "😀"
    assert clean("a\x00b\x7f\x85\tc\r\n") == "ab\tc\r\n"
    assert clean("\u200fשלום\u202c") == "\u200fשלום\u202c"
