"""When a model is at work."""

import time

import pytest
from PIL import Image

from bench.bulk.devices import PREDICTOR, SPANS, Device, Timed, busy_s
from workers.predictor import Batch, Unwatched


@pytest.fixture
def spans(tmp_path, monkeypatch):
    path = tmp_path / "spans"
    monkeypatch.setenv(PREDICTOR, "bench.bulk.devices:Device")
    monkeypatch.setenv(SPANS, str(path))
    monkeypatch.setattr(Device, "cost_s", 0.05)
    return path


def test_a_timed_model_gives_the_same_and_notes_every_batch(spans):
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "red")]
    batch = Batch("tiny", {}, 4, [{"image": picture, "prompt": None} for picture in pictures])

    began = time.monotonic()
    first, second = (Timed("cpu").predict(batch, Unwatched()) for _ in range(2))

    assert first == second == Device("cpu").predict(batch, Unwatched())
    assert first[0] == first[2] != first[1]
    assert len(spans.read_text().splitlines()) == 2
    assert busy_s(spans, began, time.monotonic()) >= 0.1


def test_only_what_lies_between_the_moments_counts(spans):
    spans.write_text("1.0 3.0\n4.0 5.0\n8.0 9.0\n")
    assert busy_s(spans, 2.0, 4.5) == 1.5
    assert busy_s(spans.with_name("none"), 0.0, 9.0) == 0.0
