"""`imagemill batch` against the real stack: from a folder to a folder of results."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
from imagemill import Client
from PIL import Image, ImageDraw

from tests.waiting import PATIENCE_S, until
from workers.training import world


@pytest.fixture
def start(stack, tmp_path):
    """Starts `imagemill` in a folder of its own."""

    def popen(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "imagemill", *map(str, arguments)],
            env={**os.environ, "IMAGEMILL_URL": stack.api_url, "PYTHONIOENCODING": "utf-8"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return popen


@pytest.fixture
def cli(start):
    """Runs it to its end; (status, stdout, stderr)."""

    def run(*arguments):
        process = start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    return run


@pytest.fixture
def shapes(tmp_path):
    """Makes a folder of pictures of shapes in various colours, one of them by each name."""

    def make(folder, *names):
        for number, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (64, 64), "white")
            left = 2 + number % 16
            box = (left, left, 61 - number // 16, 61)
            colour = world.COLOURS[number % len(world.COLOURS)]
            ImageDraw.Draw(picture).ellipse(box, fill=colour)
            picture.save(path)

    return make


def read(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_captions_with_translations_interrupted_and_gone_on_with(cli, start, shapes, tmp_path):
    names = [f"{number:03}.png" for number in range(80)]
    shapes("photos", *names, "sub/ä.png")
    (tmp_path / "photos/bad.png").write_bytes(b"no picture")
    command = ("batch", "run", "photos", "--kind", "caption", "--translate-to", "arb_Arab")

    process = start(*command, "-o", "out")
    told = until(lambda: process.stderr.readline().startswith("batch_"), "the batch")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (told, process.returncode, out) == (True, 130, "")
    assert "to go on: imagemill batch watch batch_" in err

    status, out, err = cli(*command, "-o", "out", "--resume", "--json")

    assert status == 1, err
    batch = json.loads(out)
    assert batch["request_counts"] == {"total": 81, "completed": 81, "failed": 0}
    assert (batch["refused"], "not uploaded: 1 (out/errors.jsonl" in err) == (1, True)
    results = read(tmp_path / "out/results.jsonl")
    assert [line["custom_id"] for line in results] == [*names, "sub/ä.png"]
    outputs = [line["response"]["body"]["outputs"] for line in results]
    assert all("circle" in each["caption"] for each in outputs)
    assert all("دائرة" in each["translations"]["arb_Arab"] for each in outputs)
    [error] = read(tmp_path / "out/errors.jsonl")
    assert (error["custom_id"], error["error"]["code"]) == ("bad.png", "invalid_image")
    assert "<html" in (tmp_path / "out/report.html").read_text("utf-8")

    status, out, _ = cli(*command, "-o", "again.jsonl", "--no-wait")
    assert (status, out.strip()) == (0, batch["id"])


def test_pictures_of_pairs_under_their_names(cli, shapes, stack, tmp_path):
    shapes("first", "a.png", "b.png")
    shapes("second", "b.png", "a.png")
    status, out, err = cli(
        *("batch", "run", "first", "second", "--pairs", "name", "--kind", "blend"),
        *("--set", "steps=2", "-o", "out"),
    )
    assert status == 0, err
    assert out.split() == ["out/results.jsonl", "out/report.html"]
    for line in read(tmp_path / "out/results.jsonl"):
        [image] = line["response"]["body"]["outputs"]["images"]
        content = (tmp_path / "out/images" / line["custom_id"] / image["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == image["sha256"]

    with Client(stack.api_url) as client:
        batch = next(client.batches.iterate())
        assert [line.custom_id for line in client.batches.results(batch)] == ["a.png", "b.png"]
        assert list(client.batches.errors(batch)) == []


def test_one_that_waits_is_foretold_resumed_and_ended(cli, shapes, stack):
    shapes("photos", "a.png", "b.png", "c.png")
    status, out, err = cli("batch", "run", "photos", "--kind", "ocr", "--paused", "-o", "out")
    assert status == 0, err
    batch = out.strip()
    with Client(stack.api_url) as client:
        until(lambda: client.batches.get(batch).counts.total, "the index")
    assert "items\t3\n" in cli("batch", "forecast", batch)[1]
    assert cli("batch", "resume", batch)[1].startswith(f"{batch} ")
    status, out, err = cli("batch", "watch", batch, "-o", "out")
    assert status == 0, err
    status, _, err = cli("batch", "cancel", batch)
    assert (status, err.count("\n")) == (2, 1)
