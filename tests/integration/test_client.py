"""The command line against the real stack: results, listings, canceling and exit statuses."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from imagemill import Client
from PIL import Image, ImageDraw

from shared.models import TRAINED, Registry
from tests import texts
from tests.waiting import PATIENCE_S


@pytest.fixture
def cli(stack, tmp_path):
    """Runs `imagemill` in a folder that holds a.png and b.png."""
    for name, shape, colour in (("a", "ellipse", "red"), ("b", "rectangle", "blue")):
        picture = Image.new("RGB", (64, 64), "white")
        getattr(ImageDraw.Draw(picture), shape)((12, 12, 51, 51), fill=colour)
        picture.save(tmp_path / f"{name}.png")

    def run(*arguments, url=stack.api_url, given=None):
        return subprocess.run(
            [sys.executable, "-m", "imagemill", *map(str, arguments)],
            env={**os.environ, "IMAGEMILL_URL": url, "PYTHONIOENCODING": "utf-8"},
            cwd=tmp_path,
            input=given,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
        )

    return run


def test_blend(cli, tmp_path):
    done = cli("blend", "a.png", "b.png", "-o", "out", "--translate-to", "arb_Arab", "--seed", 7)

    assert done.returncode == 0, done.stderr
    caption, arabic, path = done.stdout.splitlines()
    assert "red circle" in caption
    assert "دائرة حمراء" in arabic
    assert path == "out/image-0.png"
    assert Image.open(tmp_path / path).size == (64, 64)
    assert "100% succeeded" in done.stderr


def test_reimagine_by_its_text_and_an_edit(cli, tmp_path):
    texts.render(["large red circle"]).save(tmp_path / "sign.png")
    done = cli(
        *("reimagine", "sign.png", "--read", "ocr", "-n", 3, "-o", "out", "--seed", 1),
        *("--edit", "template=a {text} on a white background", "--translate-to", "arb_Arab"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "text: large red circle",
        "prompt: a large red circle on a white background",
        "arb_Arab: دائرة حمراء كبيرة على خلفية بيضاء",
        *(f"out/image-{i}.png" for i in range(3)),
    ]


def test_asking_and_reading(cli, tmp_path):
    done = cli("vqa", "a.png", "what colour is the shape?")
    assert (done.returncode, done.stdout) == (0, "red\n"), done.stderr
    texts.render(["OPEN DAILY"]).save(tmp_path / "sign.png")
    done = cli("ocr", "sign.png", "-o", "out")
    assert (done.returncode, done.stdout) == (0, "OPEN DAILY\nout/annotated.png\n"), done.stderr
    done = cli("ocr", "sign.png", "--language", "xx")
    assert done.returncode == 2
    assert "rapidocr does not know the language xx" in done.stderr


def test_every_entry_of_the_registry_is_listed_with_state_and_licence(cli):
    done = cli("models", "list")
    assert done.returncode == 0, done.stderr
    listed = {tuple(row[:2]): row for row in map(str.split, done.stdout.splitlines())}
    registered = {pair for pair in Registry.load(Path("/nonexistent")).models if pair[1] != TRAINED}
    assert listed.keys() >= registered
    for (family, name), row in listed.items():
        shipped = name in ("tiny", "rapidocr", "hed", "hed-vgg16") or family == "hosted"
        if (family, name) not in registered:
            assert row[2] == "trained"
        else:
            assert row[2] in (("shipped",) if shipped else ("pulled", "missing"))
        assert row[5]


def test_captions_and_translations_in_a_pipe(cli):
    done = cli("caption", "a.png", "b.png")
    assert done.returncode == 0, done.stderr
    red, blue = done.stdout.splitlines()
    assert red.startswith("a.png\t")
    assert "red circle" in red
    assert "blue square" in blue

    done = cli("translate", "-", "--target", "fra_Latn", given=red.split("\t")[1])
    assert done.returncode == 0, done.stderr
    assert "cercle rouge" in done.stdout


def test_submit_watch_show_list(cli, tmp_path):
    prompt = "a small green triangle on a black background"
    job = cli("generate", prompt, "-n", 2, "--no-wait", "--metadata", "by=test").stdout.strip()

    done = cli("jobs", "watch", job, "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["id"], told["status"], told["metadata"]) == (job, "succeeded", {"by": "test"})
    assert [(tmp_path / file).is_file() for file in told["files"]].count(True) >= 2

    assert json.loads(cli("jobs", "show", job, "--json").stdout)["status"] == "succeeded"
    listed = json.loads(cli("jobs", "list", "--kind", "generate", "--json").stdout)
    assert job in [each["id"] for each in listed["data"]]


def test_cancel(cli):
    prompt = "a small green triangle on a black background"
    job = cli("generate", prompt, "-n", 10, "--steps", 1000, "--no-wait").stdout.strip()

    assert cli("jobs", "cancel", job).returncode == 0
    done = cli("jobs", "watch", job)

    assert done.returncode == 1
    assert f"{job} canceled" in done.stderr
    assert cli("jobs", "cancel", job).stdout == f"{job} canceled\n"


def test_one_idempotency_key_is_one_job(stack, cli, tmp_path):
    with Client(stack.api_url) as client:
        made = [
            client.jobs.create(
                kind="caption", image=tmp_path / "a.png", idempotency_key=f"key of {tmp_path}"
            ).id
            for _ in range(2)
        ]
        assert made[0] == made[1]
        job = client.wait(made[0], timeout=PATIENCE_S)
        page = client.jobs.list(kind="caption", limit=1)
    assert "red circle" in job.outputs["caption"]
    assert len(page.data) == 1


def test_files(stack, cli, tmp_path):
    with Client(stack.api_url) as client:
        content = (tmp_path / "a.png").read_bytes()
        file = client.files.upload(tmp_path / "a.png")
        assert (file.width, file.height, file.bytes) == (64, 64, len(content))
        assert client.files.content(file.id) == content
        assert client.files.get(file.id).sha256 == file.sha256
        job = client.wait(client.jobs.create(kind="caption", image=file.id), timeout=PATIENCE_S)
        assert "red circle" in job.outputs["caption"]
        client.files.delete(file.id)


def test_models_and_workers(cli):
    models = json.loads(cli("models", "list", "--json").stdout)["data"]
    tiny = [model for model in models if model["name"] == "tiny"]
    assert {"captioner", "translator", "diffuser"} <= {model["family"] for model in tiny}
    assert all(model["available"] for model in tiny)
    workers = json.loads(cli("workers", "--json").stdout)["data"]
    assert {"captioner", "translator", "diffuser"} <= {worker["family"] for worker in workers}
    assert cli("workers").stdout.count("\n") == len(workers)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["caption", "missing.png"], "missing.png"),
        (["caption", "notes.txt"], "imagemill: "),
        (["generate", "a circle", "-n", "11"], "/n"),
        (["generate", "a circle", "--model", "diffuser=nothing"], "nothing"),
        (["jobs", "show", "job_nothing"], "imagemill: "),
        (["paint"], "paint"),
    ],
)
def test_what_is_refused_exits_2_with_one_line(cli, tmp_path, arguments, told):
    (tmp_path / "notes.txt").write_text("no picture")

    done = cli(*arguments)

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_service_that_is_not_there_exits_3(cli):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"

    done = cli("workers", url=url)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("imagemill: cannot reach")
