"""`imagemill score`: numbers worked out by hand, and what files may look like."""

import json
import math
import sys

import pytest
from imagemill.cli import main
from imagemill.errors import InvalidInput
from imagemill.score import score


def geometric_mean(*precisions):
    return 100 * math.prod(precisions) ** (1 / len(precisions))


def test_bleu_over_the_corpus_with_ragged_references():
    """Matches of n words, over both pictures, of all that were written; lengths are equal."""
    captions = {1: "a b c d e", 2: "a b c d"}
    references = {1: ["x", "a b c d f", "y"], 2: ["a b c d"]}
    scores = score(captions, references)
    assert scores.bleu4 == pytest.approx(geometric_mean(8 / 9, 6 / 7, 4 / 5, 2 / 3))
    assert "nrefs:var" in scores.bleu4_signature


def test_bleu_counts_a_word_as_often_as_the_reference_that_has_it_most():
    captions = {1: "a a b a b", 2: "p q r s t"}
    references = {1: ["a a z z z", "a b z b z"], 2: ["p q r s t"]}
    scores = score(captions, references)
    # Of picture 1: a twice (not three times) and b twice; "a a" and one "a b" of two.
    assert scores.bleu4 == pytest.approx(geometric_mean(9 / 10, 6 / 8, 3 / 6, 2 / 4))


def test_the_length_that_counts_is_the_nearest_of_the_pictures_own_references():
    """A picture with fewer references than others has none that are empty."""
    captions = {1: "a b c d e", 2: "a b"}
    references = {1: ["a b c d e", "a"], 2: ["a b c d"]}
    short = math.exp(1 - (5 + 4) / (5 + 2))
    assert score(captions, references).bleu4 == pytest.approx(100 * short)


def test_an_empty_caption_is_a_wrong_one():
    references = {1: ["a b c d e"], 2: ["a b c d"]}
    alone = score({1: "a b c d e"}, references)
    scores = score({1: "a b c d e", 2: ""}, references)
    assert alone.bleu4 == pytest.approx(100)
    assert scores.bleu4 == pytest.approx(100 * math.exp(1 - 9 / 5))
    assert scores.chrf < alone.chrf == pytest.approx(100)
    assert scores.pictures_scored == 2
    nothing = score({1: "", 2: " "}, references)
    assert (nothing.bleu4, nothing.chrf) == (0, 0)


def test_chrf_of_one_to_three_letters():
    """Of 3 letters 2 are right, of 2 pairs 1, of 1 triple none; the better reference counts."""
    scores = score({1: "abc"}, {1: ["xyz", "abd"]})
    assert scores.chrf == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)


def test_case_is_nothing_and_punctuation_is_a_word():
    assert score({1: "A Cat on a mat"}, {1: ["a cat on a MAT"]}).bleu4 == pytest.approx(100)
    scores = score({1: "a cat on a mat ."}, {1: ["A cat on a mat."]})
    assert scores.bleu4 == pytest.approx(100)
    assert score({1: "a cat on a mat"}, {1: ["a cat on a mat."]}).bleu4 < 100


def test_pictures_without_a_partner_are_counted_and_not_scored():
    captions = {1: "a b c d", 2: "z", 3: "z"}
    scores = score(captions, {1: ["a b c d"], 2: [], 4: ["q"]})
    assert scores.bleu4 == pytest.approx(100)
    assert scores.pictures_scored == 1
    assert scores.predictions_without_references == 2
    assert scores.references_without_predictions == 1
    with pytest.raises(InvalidInput, match="both"):
        score({2: "z"}, {2: [], 4: ["q"]})


REFERENCES = {
    "images": [
        {"id": 42, "file_name": "000000000042.jpg"},
        {"id": 7, "file_name": "val/000000000007.jpg"},
        {"id": 8, "file_name": "x/same.jpg"},
        {"id": 9, "file_name": "y/same.jpg"},
        {"id": 10, "file_name": "000000000010.jpg"},
    ],
    "annotations": [
        {"image_id": 42, "caption": "A cat sits on a mat.\n"},
        {"image_id": 42, "caption": "A black cat"},
        {"image_id": 42, "caption": " "},
        {"image_id": 7, "caption": "Two dogs run after a ball."},
        {"image_id": 8, "caption": "One red bus in the street."},
    ],
}
CAT, DOGS, BUS = "a cat sits on a mat.", "two dogs run after a ball.", "one red bus in the street."


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Scores lines against REFERENCES; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refs.json").write_text(json.dumps(REFERENCES))

    def run(*lines, options=()):
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / "captions.jsonl").write_text("\n".join(texts), encoding="utf-8")
        status = main(["score", "captions.jsonl", "--references", "refs.json", *options])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def line_of_a_batch(name, caption):
    body = {"status": "succeeded", "outputs": {"caption": caption}}
    return {"id": "r", "custom_id": name, "response": {"status_code": 200, "body": body}}


@pytest.mark.parametrize(
    "lines",
    [
        [{"image_id": 42, "caption": CAT}, {"image_id": 7, "caption": DOGS}],
        [{"image_id": "42", "caption": CAT}, "", {"image_id": "000000000007", "caption": DOGS}],
        [
            {"file_name": "000000000042.jpg", "caption": CAT},
            {"image": "val/000000000007.jpg", "caption": DOGS},
        ],
        [
            {"image": "s3://b/val2017/000000000042.jpg", "caption": CAT},
            {"file_name": "000000000007.jpg", "caption": DOGS},
        ],
        [line_of_a_batch("000000000042.jpg", CAT), line_of_a_batch("7", DOGS)],
    ],
)
def test_every_way_to_name_a_picture(run, lines):
    status, out, err = run(*lines, options=["--json"])
    assert (status, err) == (0, "")
    scores = json.loads(out)
    assert scores["bleu4"] == pytest.approx(100)
    assert scores["chrf"] == pytest.approx(100)
    assert scores["bleu4_signature"].startswith("nrefs:var|case:lc|eff:no|tok:13a|smooth:exp")
    counts = {name: number for name, number in scores.items() if isinstance(number, int)}
    assert counts == {
        "pictures_scored": 2,
        "predictions_without_references": 0,
        "references_without_predictions": 1,
    }


def test_lines_in_a_pipe(run):
    status, out, err = run({"image_id": 8, "caption": BUS}, {"image_id": 10, "caption": "a"})
    rows = [line.split("\t") for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert [row[:2] for row in rows] == [
        ["BLEU-4", "100.00"],
        ["chrF", "100.00"],
        ["pictures scored", "1"],
        ["predictions without references", "1"],
        ["references without predictions", "2"],
    ]
    assert "tok:13a" in rows[0][2]


@pytest.mark.parametrize(
    "response", [None, {"status_code": 200, "body": {"status": "failed", "outputs": {}}}]
)
def test_a_job_that_failed_wrote_a_wrong_caption(run, response):
    failed = {"id": "r", "custom_id": "7", "response": response, "error": {"code": "poison"}}
    status, out, _ = run(line_of_a_batch("42", CAT), failed, options=["--json"])
    assert status == 0
    assert json.loads(out)["pictures_scored"] == 2
    assert 0 < json.loads(out)["bleu4"] < 50


def test_a_caption_may_hold_what_ends_lines_elsewhere(run):
    line = json.dumps({"image_id": 42, "caption": f"{CAT}\u2028"}, ensure_ascii=False)
    assert run(line + "\r")[0] == 0


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([{"image_id": 5, "caption": "a"}], "line 1: the references know no picture 5"),
        ([{"image": "5.png", "caption": "a"}], "line 1: the references know no picture 5.png"),
        ([{"image_id": "9" * 5000, "caption": "a"}], "line 1: the references know no picture"),
        ([{"image": "same.jpg", "caption": "a"}], "line 1: several pictures are named same.jpg"),
        (
            [{"image_id": 42, "caption": "a"}, {"image": "000000000042.jpg", "caption": "b"}],
            "line 2: a second caption for 000000000042.jpg",
        ),
        ([{"image_id": 42}], "line 1: expected a caption with"),
        ([{"image_id": 42, "caption": None}], "line 1: expected a caption with"),
        (["[]"], "line 1: expected a caption with"),
        (["", "{"], "line 2: not JSON: "),
        (["[" * 100_000], "line 1: not JSON: "),
        ([], "no picture has both"),
        ([{"image_id": 10, "caption": "a"}], "no picture has both"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(run, lines, complaint):
    status, out, err = run(*lines)
    assert (status, out) == (2, "")
    assert complaint in err
    assert err.startswith("imagemill: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "not JSON: "),
        (b"[]", "not a COCO captions file"),
        (b'{"images": []}', "not a COCO captions file"),
        (b'{"images": [{"id": 1}], "annotations": []}', "not a COCO captions file"),
        (b'{"annotations": [{"image_id": 1, "bbox": []}]}', "not a COCO captions file"),
        (b'{"annotations": [{"image_id": 1, "caption": 3}]}', "not a COCO captions file"),
        (b"\xff", "not UTF-8 at byte 0"),
        (None, "No such file"),
    ],
)
def test_references_that_cannot_be_read(run, tmp_path, content, complaint):
    references = tmp_path / "odd.json"
    if content is not None:
        references.write_bytes(content)
    status, _, err = run({"image_id": 42, "caption": CAT}, options=["--references", "odd.json"])
    assert status == 2
    assert f"odd.json: {complaint}" in err


def test_references_need_no_list_of_pictures(run, tmp_path):
    annotations = [{"image_id": 1, "caption": CAT}]
    (tmp_path / "bare.json").write_text(json.dumps({"annotations": annotations}))
    assert run({"image_id": 1, "caption": CAT}, options=["--references", "bare.json"])[0] == 0


def test_without_sacrebleu_it_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    status, _, err = run({"image_id": 42, "caption": CAT})
    expected = "imagemill: scoring needs sacrebleu: pip install 'imagemill[score]'\n"
    assert (status, err) == (2, expected)


def test_without_references_it_is_wrong_usage(capsys):
    assert main(["score", "captions.jsonl"]) == 2
    assert "--references" in capsys.readouterr().err
