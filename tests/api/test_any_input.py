"""Whatever is sent, the answer is a job or a problem, never an unexpected error."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import InvalidImage
from shared.images import decode

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["file_" + "0" * 32, "data:image/png;base64,AAAA", "s3://photos/in/a", "tiny"]),
)
ANY = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner)
    ),
    max_leaves=12,
)
FIELDS = ["prompt", "text", "image", "first", "second", "n", "seed", "steps", "translate_to", "x"]
ENVELOPES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["generate", "translate", "caption", "blend", "reimagine"]) | ANY,
        "input": st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=5) | ANY,
    },
    optional=dict.fromkeys(("models", "priority", "metadata", "deadline_s", "webhook"), ANY),
)

fuzz = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check(answer):
    assert answer.status_code in (202, 400, 404, 413, 415, 422), answer.data
    assert answer.status_code == 202 or answer.json["code"]


@fuzz
@given(body=ENVELOPES)
def test_any_json(http, body):
    answer = http.post("/v1/jobs", json=body)
    check(answer)
    if answer.status_code == 202:
        assert http.get(answer.json["urls"]["self"]).json["metadata"] == body.get("metadata", {})


def some(*names):
    return st.dictionaries(st.sampled_from(names), ANY, max_size=5) | ANY


SOURCES = st.fixed_dictionaries(
    {"type": st.sampled_from(["manifest", "s3_prefix", "archive", "pairs", "coco"]) | ANY},
    optional=dict.fromkeys(("file_id", "url", "urls", "first", "annotations", "images"), ANY),
)
BATCHES = st.fixed_dictionaries(
    {"source": SOURCES | ANY, "job": ENVELOPES | some("kind", "input")},
    optional=dict.fromkeys(("output", "window", "timezone", "start_at", "metadata", "paused"), ANY),
) | some("input_file_id", "endpoint", "completion_window", "metadata")


@settings(fuzz, max_examples=50)
@given(body=BATCHES)
def test_any_batch(http, body):
    answer = http.post("/v1/batches", json=body)
    assert answer.status_code in (201, 400, 415, 422), answer.data
    assert answer.status_code == 201 or answer.json["code"]


@fuzz
@given(body=st.binary(max_size=300))
@pytest.mark.parametrize("media_type", ["application/json", "multipart/form-data; boundary=b"])
def test_any_bytes(http, media_type, body):
    check(http.post("/v1/jobs", data=body, content_type=media_type))
    check(http.post("/v1/files", data=body, content_type=media_type))
    check(http.post("/v1/batches", data=body, content_type=media_type))


@fuzz
@given(damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_any_damage_to_a_picture(png, form, damage):
    data = bytearray(png("red", (24, 16), form))
    for at, value in damage:
        data[at % len(data)] = value
    with contextlib.suppress(InvalidImage):
        assert decode(bytes(data), 1_000_000).mode == "RGB"
