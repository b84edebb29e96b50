"""Files of requests, and the lines of JSON that they are made of."""

import json

import pytest

from api.batches.sources import lines
from api.batches.sources.json_lines import LONGEST, json_lines
from api.batches.sources.line import LineError
from shared.errors import NotFound


def request(custom_id, **changes):
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/jobs", "body": {"kind": "x"}}
    return json.dumps({**request, **changes}).encode()


def test_a_bad_line_harms_no_other(source_world):
    data = [
        b"\xef\xbb\xbf" + request("ä", body={"kind": "caption", "input": {"n": 1.5}}),
        b"",
        b"{ not JSON",
        b'"a text"',
        request("b", url="/v1/images/generations"),
        request("c", method="GET"),
        request("d", body=[]),
        b'{"body": {}}',
        request("e"),
    ]
    batch = source_world.requests(b"\r\n".join(data))
    found = list(lines(source_world.services, batch))
    assert [line.line for line in found] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert [line.custom_id for line in found] == ["ä", None, None, "b", "c", "d", None, "e"]
    assert found[0].body == {"kind": "caption", "input": {"n": 1.5}}
    codes = [line.error and line.error.code for line in found]
    wrong = "invalid_line"
    expected = [None, "invalid_json", wrong, "mixed_endpoints", wrong, wrong, None, None]
    assert codes == expected


def test_a_file_that_is_gone(source_world):
    batch = source_world.batch({"input_file_id": "file_" + "0" * 32, "endpoint": "/v1/jobs"})
    with pytest.raises(NotFound):
        list(lines(source_world.services, batch))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"{} {}",
    ],
)
def test_what_cannot_be_written_again_is_no_json(text):
    (_, parsed, _) = next(json_lines([text]))
    assert isinstance(parsed, LineError)
    assert parsed.code == "invalid_json"


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_blocks_cut_lines_anywhere(size):
    data = "".join(f'{{"n": "{"é" * number}"}}\n' for number in range(200)).encode()
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    assert [(number, parsed["n"]) for number, parsed, _ in json_lines(blocks)] == [
        (number + 1, "é" * number) for number in range(200)
    ]


def test_a_line_that_is_too_long_is_skipped_and_counted():
    fits = b'{"n":"' + b"a" * (LONGEST - 8) + b'"}'
    data = b"\n".join([fits, fits + b" ", b"x" * (3 * LONGEST), b"{}", b"y" * (2 * LONGEST)])
    blocks = [data[start : start + 2**16] for start in range(0, len(data), 2**16)]
    found = [(number, getattr(parsed, "code", "")) for number, parsed, _ in json_lines(blocks)]
    assert found == [
        (1, ""),
        (2, "line_too_long"),
        (3, "line_too_long"),
        (4, ""),
        (5, "line_too_long"),
    ]
