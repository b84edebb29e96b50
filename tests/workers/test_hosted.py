"""The hosted family against a local server that speaks as the Gemini API does."""

import base64
import io
import pickle
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.errors import (
    HostUnavailable,
    ImagemillError,
    ModelNotAvailable,
    PredictionFailed,
    SettingsError,
)
from tests import gemini
from tests.gemini import DELAY_S, KEY, Answer, Gemini, Request, blocked, drawn, refused, said
from tests.waiting import PATIENCE_S
from tests.workers.families import Recorder, noise
from workers.families.hosted import AT_ONCE, Hosted, aspect_ratio
from workers.hosting.retry import RETRY_INFO, Patience, told_delay_s
from workers.hosting.settings import load_hosted_settings
from workers.predictor import Batch, Checkpoint

BUSY = refused(503, "UNAVAILABLE", "The model is overloaded.")
PATIENCE = Patience(tries=3, total_s=5.0, pause_s=0.02)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def by_seed(request: Request) -> Answer:
    return drawn(png(noise(request.body["generationConfig"]["seed"])), after_s=DELAY_S)


@pytest.fixture(scope="module")
def server() -> Iterator[Gemini]:
    with gemini.serve(by_seed) as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("IMAGEMILL_GEMINI_API_KEY", KEY)
        environment.setenv("IMAGEMILL_GEMINI_URL", server.url)
        environment.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def hosted(server: Gemini) -> Hosted:
    server.play()
    hosted = Hosted("cpu", PATIENCE)
    hosted.load(Checkpoint("painter", Path("painter"), "r"))
    return hosted


def sample(seed: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"picture {seed}", "negative_prompt": None, "seed": seed, **more}


def draw(hosted: Hosted, *samples: dict[str, Any], **params: Any) -> list[Image.Image]:
    batch = Batch("painter", params, 4, samples or [sample(1)])
    results = []
    for result in hosted.predict(batch, Recorder()):
        if isinstance(result, ImagemillError):
            raise result
        results.append(result)
    assert [result["prompt"] for result in results] == [each["prompt"] for each in batch.samples]
    return [result["image"] for result in results]


def test_what_is_asked(server: Gemini, hosted: Hosted) -> None:
    (image,) = draw(hosted, sample(7), width=768, height=512, guidance=7.5)
    assert image.mode == "RGB"
    assert image.tobytes() == noise(7).tobytes()
    (request,) = server.requests  # none for the three empty places of the batch
    assert (request.model, request.key) == ("painter", KEY)
    assert request.body == {
        "contents": [{"role": "user", "parts": [{"text": "picture 7"}]}],
        "generationConfig": {
            "seed": 7,
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "3:2"},
        },
    }


def test_picture_and_negative_prompt_are_parts_of_their_own(server: Gemini, hosted: Hosted) -> None:
    draw(hosted, sample(1, image=noise(5), negative_prompt="a hat"), task="image-to-image")
    (request,) = server.requests
    assert request.texts == ["picture 1", "The picture must not show: a hat"]
    blob = request.parts[-1]["inlineData"]
    assert "image/png" in blob.values()  # under either spelling that JSON of protocol buffers has
    sent = Image.open(io.BytesIO(base64.urlsafe_b64decode(blob["data"])))
    assert sent.tobytes() == noise(5).tobytes()
    assert "imageConfig" not in request.body["generationConfig"]


def test_settings_name_the_model_and_the_size(server: Gemini, hosted: Hosted) -> None:
    settings = {"api_model": "gemini-3-pro-image", "image_size": "2K"}
    hosted.load(Checkpoint("painter", Path("painter"), "r", settings=settings))
    draw(hosted, sample(2**40 + 3))
    (request,) = server.requests
    assert request.model == "gemini-3-pro-image"
    assert request.body["generationConfig"]["imageConfig"] == {"imageSize": "2K"}
    assert request.body["generationConfig"]["seed"] == 3


def test_a_batch_is_asked_for_at_once_and_stays_in_order(server: Gemini, hosted: Hosted) -> None:
    recorder = Recorder()
    samples = [sample(seed) for seed in range(9)]
    results = hosted.predict(Batch("painter", {}, 9, samples), recorder)
    assert [each["image"].tobytes() for each in results] == [noise(i).tobytes() for i in range(9)]
    assert 1 < server.most_busy <= AT_ONCE
    assert recorder.steps[-1] == (9, 9, "picture 9 of 9")


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [
        (1024, 1024, "1:1"),
        (512, 768, "2:3"),
        (1920, 1080, "16:9"),
        (1000, 820, "5:4"),
        (100, 4000, "9:16"),
        (4000, 100, "21:9"),
        (None, 512, None),
    ],
)
def test_the_nearest_aspect_ratio(width: int | None, height: int, ratio: str | None) -> None:
    assert aspect_ratio(width, height) == ratio


QUOTA = "You exceeded your current quota."


@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [
        (refused(429, "RESOURCE_EXHAUSTED", QUOTA, retry_delay="0.05s"), DELAY_S),
        (refused(429, "RESOURCE_EXHAUSTED", QUOTA, headers=(("Retry-After", "0.05"),)), DELAY_S),
        (BUSY, 0),
        (Answer(502, b"<html>Bad Gateway</html>"), 0),
        (drawn(png(noise(3)), cut=True), 0),
    ],
    ids=["retry-info", "retry-after", "overloaded", "no-json", "cut"],
)
def test_what_passes_is_tried_again(
    server: Gemini, hosted: Hosted, answer: Answer, pause_s: float
) -> None:
    server.play(answer, answer)
    (image,) = draw(hosted)
    assert image.tobytes() == noise(1).tobytes()
    first, second, third = server.arrivals
    assert min(second - first, third - second) >= pause_s


def test_after_the_last_try_the_host_is_unavailable(server: Gemini, hosted: Hosted) -> None:
    server.play(*[BUSY] * 9)
    with pytest.raises(HostUnavailable, match=r"HTTP 503: The model is overloaded\. \(tries: 3\)"):
        draw(hosted)
    assert len(server.requests) == 3  # the SDK adds none


def test_a_longer_wait_than_there_is_patience_for(server: Gemini, hosted: Hosted) -> None:
    server.play(refused(429, "RESOURCE_EXHAUSTED", QUOTA, retry_delay="36000s"))
    with pytest.raises(HostUnavailable, match="quota"):
        draw(hosted)
    assert len(server.requests) == 1


def test_a_host_that_is_not_there(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    with gemini.serve(by_seed) as gone:
        monkeypatch.setenv("IMAGEMILL_GEMINI_URL", gone.url)
    hosted.load(Checkpoint("painter", Path("painter"), "r"))
    with pytest.raises(HostUnavailable, match="no answer"):
        draw(hosted)


def test_an_unavailable_host_costs_no_attempt_of_the_step() -> None:
    error = pickle.loads(pickle.dumps(HostUnavailable("away")))  # as it comes to the worker
    assert (error.message, error.retryable, error.burns_attempt) == ("away", True, False)


BLOCKED = said([{"text": "I cannot\ndraw this."}], finish="IMAGE_SAFETY")
THOUGHT = {"inlineData": {"mimeType": "image/png", "data": ""}, "thought": True}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refused(400, "INVALID_ARGUMENT", "Bad\n  ratio."), "host refuses: HTTP 400: Bad ratio."),
        (refused(403, "PERMISSION_DENIED", f"Key {KEY} is bad"), "HTTP 403: Key *** is bad"),
        (Answer(404, b'{"error": "gone"}'), "HTTP 404: "),
        (blocked("PROHIBITED_CONTENT"), "the prompt is blocked (PROHIBITED_CONTENT)"),
        (BLOCKED, "drew no picture: IMAGE_SAFETY I cannot draw this."),
        (said([], finish="NO_IMAGE"), "drew no picture: NO_IMAGE"),
        (said([THOUGHT]), "drew no picture: STOP"),
        (Answer(), "the answer is empty"),
        (Answer(body=b"<html>"), "the host's answer is damaged: JSONDecodeError"),
        (Answer(body=b'{"candidates": 3}'), "the host's answer is damaged"),
        (drawn(png(noise(1))[:-900]), "the host's picture is damaged"),
        (drawn(b"no picture"), "the host's picture is damaged"),
    ],
)
def test_what_will_not_pass_fails_at_once(
    server: Gemini, hosted: Hosted, answer: Answer, message: str
) -> None:
    server.play(answer)
    with pytest.raises(PredictionFailed) as failure:
        draw(hosted)
    assert message in failure.value.message
    assert "\n" not in failure.value.message
    assert KEY not in "".join(traceback.format_exception(failure.value))
    assert len(server.requests) == 1


def test_long_words_are_cut(server: Gemini, hosted: Hosted) -> None:
    server.play(refused(400, "INVALID_ARGUMENT", "no " * 10_000))
    with pytest.raises(PredictionFailed) as failure:
        draw(hosted)
    assert len(failure.value.message) < 400


def test_a_picture_after_a_thought(server: Gemini, hosted: Hosted) -> None:
    def part(seed: int, **more: Any) -> dict[str, Any]:
        data = base64.b64encode(png(noise(seed))).decode()
        return {"inlineData": {"mimeType": "image/png", "data": data}, **more}

    server.play(said([part(1, thought=True), part(2)]))
    assert draw(hosted)[0].tobytes() == noise(2).tobytes()


def test_a_jpeg_is_taken_too(server: Gemini, hosted: Hosted) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(file, format="JPEG")
    server.play(drawn(file.getvalue(), "image/jpeg"))
    assert draw(hosted)[0].size == (32, 16)


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        (refused(429, "RESOURCE_EXHAUSTED", QUOTA, retry_delay="4s"), 0),
        (Answer(after_s=PATIENCE_S), 1),
    ],
    ids=["waiting", "asking"],
)
def test_a_cancel_stops_at_once(
    server: Gemini, hosted: Hosted, answer: Answer, broken: int
) -> None:
    server.play(answer)
    assert hosted.predict(Batch("painter", {}, 1, [sample(1)]), Recorder(most=2)) == []
    server.wait_until_idle()
    assert (len(server.requests), server.broken) == (1, broken)


def test_one_refused_picture_costs_no_other(server: Gemini, hosted: Hosted) -> None:
    server.play(refused(400, "INVALID_ARGUMENT", "No."))
    batch = Batch("painter", {}, 4, [sample(seed) for seed in range(4)])
    results = hosted.predict(batch, Recorder())
    (failed,) = (each for each in results if isinstance(each, ImagemillError))
    assert isinstance(failed, PredictionFailed)
    assert len(server.requests) == len(results) == 4


def test_an_unknown_task_is_refused(hosted: Hosted) -> None:
    with pytest.raises(PredictionFailed, match="painter cannot do inpainting"):
        draw(hosted, task="inpainting")


def test_an_unloaded_model_is_gone(hosted: Hosted) -> None:
    hosted.unload("painter")
    with pytest.raises(KeyError):
        draw(hosted)


@pytest.mark.parametrize(
    ("name", "value"),
    [("API_KEY", "two words"), ("API_KEY", "naïve"), ("URL", "ftp://x"), ("URL", "localhost")],
)
def test_bad_settings_are_named_and_not_shown(
    server: Gemini, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"IMAGEMILL_GEMINI_{name}", value)
    with pytest.raises(SettingsError, match=f"^IMAGEMILL_GEMINI_{name}: ") as failure:
        load_hosted_settings()
    assert value not in str(failure.value)


def test_the_key_is_needed_and_kept_secret(server: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEY not in repr(load_hosted_settings())
    monkeypatch.setenv("IMAGEMILL_GEMINI_API_KEY", " ")
    with pytest.raises(ModelNotAvailable, match="set IMAGEMILL_GEMINI_API_KEY"):
        Hosted("cpu").load(Checkpoint("painter", Path("painter"), "r"))


@pytest.mark.parametrize(
    ("header", "delay", "expected"),
    [
        (None, None, None),
        ("7", None, 7.0),
        ("7", "9.5s", 9.5),
        ("Fri, 01 Jan 1999 00:00:00 GMT", None, 0.0),
        ("soon", None, None),
        ("soon", "3s", 3.0),
        (None, "soon", None),
        ("nan", None, 0.0),
        ("-1", None, 0.0),
    ],
)
def test_the_delay_that_a_host_tells(
    header: str | None, delay: str | None, expected: float | None
) -> None:
    headers = {} if header is None else {"retry-after": header}
    details: list[Any] = [{"@type": "type.googleapis.com/google.rpc.Help"}]
    if delay is not None:
        details.append({"@type": RETRY_INFO, "retryDelay": delay})
    assert told_delay_s(headers, {"error": {"details": details}}) == expected


def test_a_host_may_tell_the_time_of_day() -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert told_delay_s({"retry-after": in_an_hour}, None) == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("body", [None, [], {"error": "x"}, {"error": {"details": [3]}}])
def test_an_odd_error_tells_no_delay(body: Any) -> None:
    assert told_delay_s({}, body) is None
