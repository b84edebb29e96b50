"""The command line: what is sent, what is printed, and how it exits."""

import io
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time

import pytest
from imagemill import __version__

from tests.waiting import PATIENCE_S


@pytest.fixture
def drawn(service, make):
    """A job that has drawn one picture."""
    image = make.artifact("image-0.png", make.png)
    outputs = {
        "artifacts": [image],
        "caption": "a red [bold]circle",
        "translations": {"arb_Arab": "دائرة"},
    }
    states = [
        make.job("job_1", status, kind="blend", outputs=outputs)
        for status in ("queued", "succeeded")
    ]
    service.on("GET", "/v1/jobs/job_1/artifacts/image-0.png", make.png)
    service.on_job(*states)
    return states[-1]


def sent(service):
    """The JSON of the job that was submitted last."""
    request = [r for r in service.requests if (r.method, r.path) == ("POST", "/v1/jobs")][-1]
    multipart = request.headers["content-type"].startswith("multipart")
    return json.loads(request.parts["job"] if multipart else request.body)


def pictures(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"picture")


def test_blend_with_every_option(cli, service, drawn, tmp_path, make):
    pictures(tmp_path, "a.png", "b.png")

    status, out, err = cli(
        *shlex.split(
            "blend a.png b.png -o out/ --translate-to arb_Arab --translate-to fra_Latn -n 2"
        ),
        *shlex.split("--seed 7 --steps 9 --guidance 3.5 --strength 0.5 --width 64 --height 128"),
        *shlex.split("--model diffuser=sd15 --bulk --metadata k=a=b --deadline 30"),
    )

    assert status == 0
    assert out == "caption: a red [bold]circle\narb_Arab: دائرة\nout/image-0.png\n"
    assert (tmp_path / "out/image-0.png").read_bytes() == make.png
    assert "job_1 100% succeeded" in err
    assert sent(service) == {
        "kind": "blend",
        "input": {
            "translate_to": ["arb_Arab", "fra_Latn"],
            "n": 2,
            "seed": 7,
            "steps": 9,
            "guidance": 3.5,
            "strength": 0.5,
            "width": 64,
            "height": 128,
        },
        "models": {"diffuser": "sd15"},
        "metadata": {"k": "a=b"},
        "priority": "bulk",
        "deadline_s": 30.0,
    }


def test_what_is_not_given_is_not_sent(cli, service, drawn, tmp_path):
    pictures(tmp_path, "a.png")
    cli("generate", "a circle", "--negative", "blue")
    fields = {"prompt": "a circle", "negative_prompt": "blue"}
    assert sent(service) == {"kind": "generate", "input": fields}
    cli("reimagine", "a.png")
    assert sent(service) == {"kind": "reimagine", "input": {}}


def test_without_a_folder_the_files_lie_in_one_named_after_the_job(cli, drawn):
    status, out, _ = cli("generate", "a circle")
    assert (status, out.splitlines()[-1]) == (0, "job_1/image-0.png")


def test_json_is_alone_on_stdout(cli, drawn):
    status, out, _ = cli("generate", "a circle", "--json", "-o", "out")
    assert status == 0
    assert json.loads(out) == {**drawn, "files": ["out/image-0.png"]}


def test_not_waiting_prints_the_id(cli, service, drawn):
    assert cli("generate", "a circle", "--no-wait") == (0, "job_1\n", "")
    assert json.loads(cli("generate", "a circle", "--no-wait", "--json")[1])["id"] == "job_1"
    assert {request.method for request in service.requests} == {"POST"}


def test_captions_of_several_pictures(cli, service, make, tmp_path):
    pictures(tmp_path, "a.png", "b.png", "c.png")
    jobs = [
        make.job(f"job_{i}", "succeeded", kind="caption", outputs={"caption": f"caption {i}"})
        for i in (1, 2)
    ]
    problem = {"code": "invalid_image", "detail": "not an image"}
    service.on("POST", "/v1/jobs", (202, {}, jobs[0]), (422, {}, problem), (202, {}, jobs[1]))
    service.on("GET", "/v1/jobs/job_1", jobs[0])
    service.on("GET", "/v1/jobs/job_2", jobs[1])

    status, out, err = cli("caption", "a.png", "b.png", "c.png", "--max-tokens", 9)

    assert (status, out) == (2, "a.png\tcaption 1\nc.png\tcaption 2\n")
    assert "imagemill: b.png: not an image\n" in err


def test_one_caption_stands_alone(cli, service, make, tmp_path):
    pictures(tmp_path, "a.png")
    outputs = {"caption": "a circle", "translations": {"fra_Latn": "un cercle"}}
    service.on_job(make.job("job_1", "succeeded", kind="caption", outputs=outputs))
    told = cli("caption", "a.png", "--prompt", "a", "--translate-to", "fra_Latn")
    assert told[:2] == (0, "a circle\nfra_Latn: un cercle\n")
    assert sent(service)["input"] == {"prompt": "a", "translate_to": ["fra_Latn"]}


def test_a_reimagining_with_edits(cli, service, make, tmp_path):
    pictures(tmp_path, "photo.jpg")
    outputs = {
        "caption": "a dog",
        "text": "BEWARE",
        "prompt": "a watercolour of a cat",
        "translations": {"arb_Arab": "قطة"},
        "safety": [{"name": "image-0.png", "flagged": True, "blocked": True}],
    }
    service.on_job(make.job("job_1", "succeeded", kind="reimagine", outputs=outputs))

    status, out, _ = cli(
        *("reimagine", "photo.jpg", "--read", "both", "--language", "en", "-n", 3),
        *("--edit", "replace=dog=>cat", "--edit", "regex=(a)=>\\1", "--edit", "append=!"),
        *("--edit", "prepend=oh", "--edit", "template=a watercolour of {text}"),
        *("--translate-to", "arb_Arab", "--scheduler", "ddim", "--lora", "x", "--lora", "y=0.5"),
        *("--preset", "image-text-image"),
    )

    assert status == 0
    assert out.splitlines() == [
        "caption: a dog",
        "text: BEWARE",
        "prompt: a watercolour of a cat",
        "arb_Arab: قطة",
        "blocked: image-0.png",
    ]
    assert sent(service)["input"] == {
        "read": "both",
        "languages": ["en"],
        "n": 3,
        "edit": [
            {"op": "replace", "find": "dog", "with": "cat", "regex": False},
            {"op": "replace", "find": "(a)", "with": "\\1", "regex": True},
            {"op": "append", "text": "!"},
            {"op": "prepend", "text": "oh"},
            {"op": "template", "template": "a watercolour of {text}"},
        ],
        "translate_to": ["arb_Arab"],
        "scheduler": "ddim",
        "loras": [{"name": "x"}, {"name": "y", "scale": 0.5}],
        "preset": "image-text-image",
    }


def test_a_mask_is_sent_as_a_file(cli, service, drawn, tmp_path):
    pictures(tmp_path, "a.png", "b.png", "m.png")
    cli("blend", "a.png", "b.png", "--mask", "m.png", "-o", "out")
    assert sent(service) == {"kind": "blend", "input": {}}
    parts = next(r.parts for r in service.requests if r.method == "POST")
    assert parts.keys() == {"job", "first", "second", "mask"}


def test_a_composite_with_every_option(cli, service, make, tmp_path):
    pictures(tmp_path, "source.png", "mask.png", "target.png")
    made = {"first_pass.png": make.png, "process.mp4": b"video", "losses.svg": b"<svg/>"}
    artifacts = [make.artifact(name, content) for name, content in made.items()]
    for name, content in made.items():
        service.on("GET", f"/v1/jobs/job_1/artifacts/{name}", content)
    service.on_job(make.job("job_1", "succeeded", outputs={"artifacts": artifacts}))

    status, out, _ = cli(
        *shlex.split("composite source.png mask.png target.png --x 200 --y 250 --video -o out"),
        *shlex.split("--source-size 240 --target-size 512 --steps 60 --variant paper --seed 7"),
        *shlex.split("--precision bf16"),
    )

    assert (status, out.splitlines()) == (0, [f"out/{name}" for name in made])
    assert {name: (tmp_path / "out" / name).read_bytes() for name in made} == made
    parts = next(r.parts for r in service.requests if r.method == "POST")
    assert parts.keys() == {"job", "source", "mask", "target"}
    assert sent(service) == {
        "kind": "composite",
        "input": {
            "x": 200,
            "y": 250,
            "source_size": 240,
            "target_size": 512,
            "variant": "paper",
            "steps": 60,
            "precision": "bf16",
            "video": True,
            "seed": 7,
        },
    }


def test_a_composite_of_a_source_with_transparency(cli, service, make, tmp_path):
    pictures(tmp_path, "source.png")
    service.on_job(make.job("job_1", "succeeded", kind="composite"))
    assert cli("composite", "source.png", "file_0a1b")[0] == 0
    assert sent(service)["input"] == {"target": "file_0a1b"}


def test_a_panorama_in_both_orders(cli, service, make, tmp_path):
    pictures(tmp_path, "left.png", "right.png")
    made = {"panorama.png": make.png, "panorama-swapped.png": make.png}
    artifacts = [make.artifact(name, content) for name, content in made.items()]
    for name, content in made.items():
        service.on("GET", f"/v1/jobs/job_1/artifacts/{name}", content)
    service.on_job(make.job("job_1", "succeeded", outputs={"artifacts": artifacts}))

    status, out, _ = cli(
        *("panorama", "left.png", "right.png", "--both-orders", "--full-height", "-o", "out")
    )

    assert (status, out.splitlines()) == (0, [f"out/{name}" for name in made])
    parts = next(r.parts for r in service.requests if r.method == "POST")
    assert parts.keys() == {"job", "left", "right"}
    assert sent(service) == {
        "kind": "panorama",
        "input": {"both_orders": True, "full_height": True},
    }


def test_a_training_with_its_archive(cli, service, make, tmp_path):
    (tmp_path / "alps.zip").write_bytes(b"PK")
    service.on_job(make.job("job_1", "succeeded", outputs={"trained_model": "alps"}))

    status, out, _ = cli(
        *("panorama", "train", "alps.zip", "--stage", "finetune", "--start-from", "alps-first"),
        *("--name", "alps", "--epochs", "3", "--learning-rate", "0.5", "--model"),
        *("panorama_trainer=tiny", "-o", "out"),
    )

    assert (status, out) == (0, "model: alps\n")
    parts = next(r.parts for r in service.requests if r.method == "POST")
    assert parts.keys() == {"job", "dataset"}
    assert sent(service) == {
        "kind": "panorama_training",
        "models": {"panorama_trainer": "tiny"},
        "input": {
            "stage": "finetune",
            "start_from": "alps-first",
            "name": "alps",
            "epochs": 3,
            "learning_rate": 0.5,
        },
    }
    assert cli("panorama", "train", "s3://photos/alps/")[0] == 0
    assert sent(service)["input"] == {"dataset": "s3://photos/alps/"}


def test_an_evaluation_in_numbers(cli, service, make):
    errors = {"pixel, middle": 0.0625, "pixel, seams": 0.03125}
    outputs = {
        "model": "alps",
        "fid": 12.345,
        "kid": {"mean": 0.5, "std": 0.0625, "subset": 4},
        "features": "VGG16",
        "real": 8,
        "generated": 16,
        "reconstruction": {"generator": errors},
    }
    service.on_job(make.job("job_1", "succeeded", kind="panorama_evaluation", outputs=outputs))

    status, out, _ = cli(
        *("panorama", "evaluate", "s3://photos/alps/", "--no-both-orders", "--pairing", "random"),
        *("--model", "panorama=alps", "-o", "out"),
    )

    assert (status, out.splitlines()) == (
        0,
        [
            "model: alps",
            "FID: 12.35",
            "KID: 0.5 ± 0.062",
            "features: VGG16",
            "pictures: 8, panoramas: 16",
            "generator: pixel, middle 0.0625, pixel, seams 0.0312",
        ],
    )
    assert sent(service) == {
        "kind": "panorama_evaluation",
        "models": {"panorama": "alps"},
        "input": {"dataset": "s3://photos/alps/", "both_orders": False, "pairing": "random"},
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'left'"),
        (["blend"], "Missing argument 'left'"),
        (["--both-orders", "left.png"], "Missing argument 'right'"),
        (["train"], "Missing argument 'dataset'"),
        (["evaluate"], "Missing argument 'dataset'"),
    ],
)
def test_panorama_blends_unless_another_command_is_named(cli, arguments, words):
    status, _, err = cli("panorama", *arguments)
    assert status == 2
    assert words in err


def test_losses_and_the_newest_preview(cli, service, make, tmp_path):
    losses = {"evaluation": 37, "gradient": 13246915.0, "style": 0.25}
    progress = {"value": 0.3, "message": "first pass, evaluation 37 of 60", "metrics": losses}
    running = {"steps": [{"name": "composite", "status": "running"}], "progress": progress}
    service.on_job(
        make.job("job_1", "queued"),
        make.job("job_1", "queued"),
        make.job("job_1", "running", **running),
        make.job("job_1", "running", metadata={"k": "v"}, **running),
        make.job("job_1", "succeeded"),
    )
    service.on(
        *("GET", "/v1/jobs/job_1/preview"),
        *((404, {}, {"detail": "there is none"}), b"newest", (429, {"Retry-After": "999"}, {})),
    )

    status, _, err = cli("composite", "file_1", "file_2", "--preview", "now.jpg", "-o", "out")

    assert status == 0
    told = "composite: first pass, evaluation 37 of 60, gradient 1.32e+07, style 0.25"
    assert f"job_1 30% {told}\n" in err
    assert (tmp_path / "now.jpg").read_bytes() == b"newest"
    assert {path.name for path in tmp_path.iterdir()} == {"now.jpg", "out"}
    asked = [request for request in service.requests if request.path.endswith("/preview")]
    assert len(asked) == 3  # the last one was refused, and the command went on


def test_reading_and_asking(cli, service, make, tmp_path):
    pictures(tmp_path, "a.png")
    artifact = make.artifact("annotated.png", b"picture")
    outputs = {"text": "OPEN", "regions": [], "artifacts": [artifact]}
    service.on_job(make.job("job_1", "succeeded", kind="ocr", outputs=outputs))
    assert cli("ocr", "a.png", "--language", "en", "--language", "ch")[:2] == (0, "OPEN\n")
    assert sent(service)["input"] == {"languages": ["en", "ch"]}
    assert not (tmp_path / "job_1").exists()


def test_a_question(cli, service, make, tmp_path):
    pictures(tmp_path, "a.png")
    service.on_job(make.job("job_1", "succeeded", kind="vqa", outputs={"answer": "red"}))
    assert cli("vqa", "a.png", "what colour?")[:2] == (0, "red\n")
    assert sent(service)["input"] == {"question": "what colour?"}


def test_translate_arguments_and_lines(cli, service, make, monkeypatch):
    outputs = {"translation": ["un", "deux"]}
    service.on_job(make.job("job_1", "succeeded", kind="translate", outputs=outputs))
    monkeypatch.setattr("sys.stdin", io.StringIO("two\n\nthree\n"))

    status, out, _ = cli("translate", "one", "-", "--source", "eng_Latn", "--target", "fra_Latn")

    assert (status, out) == (0, "un\ndeux\n")
    fields = {"text": ["one", "two", "three"], "source": "eng_Latn", "target": "fra_Latn"}
    assert sent(service)["input"] == fields


def test_many_lines_become_several_jobs(cli, service, make, monkeypatch):
    outputs = {"translation": "text"}
    service.on_job(make.job("job_1", "succeeded", kind="translate", outputs=outputs))
    monkeypatch.setattr("sys.stdin", io.StringIO("line\n" * 257))

    assert cli("translate", "-")[:2] == (0, "text\ntext\n")

    bodies = [json.loads(r.body) for r in service.requests if r.method == "POST"]
    assert [len(body["input"]["text"]) for body in bodies] == [256, 1]


def test_a_failed_job_exits_1(cli, service, make):
    error = {"code": "out_of_memory", "message": "the device\nis full", "step": "draw"}
    service.on_job(make.job("job_1", "queued"), make.job("job_1", "failed", error=error))
    told = "imagemill: job_1 failed (step draw): out_of_memory: the device is full\n"

    status, out, err = cli("generate", "a circle")
    assert (status, out) == (1, "")
    assert err.endswith(told)

    status, out, err = cli("jobs", "watch", "job_1", "--json")
    assert (status, json.loads(out)["status"]) == (1, "failed")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("caption missing.png", "image: missing.png: No such file or directory"),
        ("caption", "Missing argument"),
        ("paint", "No such command 'paint'"),
        ("generate x -n many", "-n"),
        ("generate x --model sd15", "--model sd15: expected KEY=VALUE"),
        ("reimagine a.png --edit shout=a", "--edit shout=a: expected OP=TEXT"),
        ("reimagine a.png --edit replace=a", "--edit replace=a: expected replace=OLD=>NEW"),
        ("generate x --lora a=b", "--lora a=b: 'b' is no number"),
        ("generate x -o taken", "--out taken: File exists"),
        ("composite a.png", "expected SOURCE [MASK] TARGET: 1 given"),
        ("composite a b c d", "expected SOURCE [MASK] TARGET: 4 given"),
        ("generate x --preview none/a.jpg", "--preview none/a.jpg: no file can be made there"),
        ("jobs show job_9", "there is no /v1/jobs/job_9"),
        ("translate -", "there is no text"),
        ("jobs list --limit 0", "--limit"),
        ("", "Missing command"),
    ],
)
def test_wrong_usage_exits_2_with_one_line(cli, service, monkeypatch, tmp_path, arguments, told):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    (tmp_path / "taken").write_bytes(b"")

    status, out, err = cli(*arguments.split())

    assert (status, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert not [request for request in service.requests if request.method == "POST"]


def test_a_refused_field_exits_2_with_its_pointer(cli, service):
    errors = [{"pointer": "/input/n", "detail": "at most 10"}]
    service.on("POST", "/v1/jobs", (422, {}, {"code": "invalid_request", "errors": errors}))
    assert cli("generate", "x", "-n", 11) == (2, "", "imagemill: /input/n: at most 10\n")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_service_that_cannot_work_exits_3(cli, service, status):
    service.on("GET", "/v1/models", (status, {}, {"detail": "not now"}))
    assert cli("models", "list") == (3, "", "imagemill: not now\n")


def test_a_service_that_is_not_there_exits_3(cli, monkeypatch):
    monkeypatch.setenv("IMAGEMILL_URL", "http://127.0.0.1:1")
    status, out, err = cli("workers", "--json")
    assert (status, out) == (3, "")
    assert err.startswith("imagemill: cannot reach http://127.0.0.1:1")
    assert err.count("\n") == 1


def test_other_bytes_than_recorded_exit_1(cli, service, drawn):
    service.on("GET", "/v1/jobs/job_1/artifacts/image-0.png", b"other")
    status, out, err = cli("generate", "a circle")
    assert (status, out) == (1, "")
    assert err.splitlines()[-2].endswith("to go on: imagemill jobs watch job_1")
    assert "SHA-256" in err.splitlines()[-1]


def test_jobs_list_show_cancel(cli, service, make):
    step = {"name": "draw", "status": "running", "family": "diffuser", "model": "tiny"}
    job = make.job("job_1", "running", steps=[step], metadata={"k": "v"})
    page = {"data": [job], "has_more": True, "next": "c1"}
    service.on("GET", "/v1/jobs", page)
    service.on("GET", "/v1/jobs/job_1", job)
    service.on("POST", "/v1/jobs/job_1/cancel", make.job("job_1", "canceling"))

    status, out, err = cli("jobs", "list", "--status", "running", "--kind", "generate")
    assert (status, out) == (0, "job_1\tgenerate\trunning\t0%\t2026-01-01T00:00:00Z\n")
    assert err == "imagemill: there are more: --after c1\n"
    assert service.requests[-1].query == {
        "status": ["running"],
        "kind": ["generate"],
        "limit": ["20"],
    }
    assert json.loads(cli("jobs", "list", "--json")[1]) == page

    out = cli("jobs", "show", "job_1")[1]
    assert "status\trunning\n" in out
    assert "step draw\trunning, diffuser tiny\n" in out
    assert json.loads(cli("jobs", "show", "job_1", "--json")[1]) == job

    assert cli("jobs", "cancel", "job_1")[:2] == (0, "job_1 canceling\n")


def test_watching_saves_only_when_told(cli, drawn, tmp_path):
    assert cli("jobs", "watch", "job_1")[1].splitlines()[-1] == "/image-0.png"
    assert list(tmp_path.iterdir()) == []
    assert cli("jobs", "watch", "job_1", "-o", "out")[1].splitlines()[-1] == "out/image-0.png"


def test_models_and_workers(cli, service):
    model = {
        "family": "diffuser",
        "name": "tiny",
        "default": True,
        "available": False,
        "state": "shipped",
        "licence": "MIT",
    }
    worker = {
        "name": "w1",
        "family": "diffuser",
        "device": "cpu",
        "models": {"tiny": "r"},
        "slots": 3,
        "busy": 1,
    }
    service.on("GET", "/v1/models", {"data": [model]})
    service.on("GET", "/v1/workers", {"data": [worker]})

    assert cli("models", "list") == (0, "diffuser\ttiny\tshipped\tyes\tno\tMIT\n", "")
    assert cli("workers") == (0, "w1\tdiffuser\tcpu\ttiny\t1\t3\n", "")
    assert json.loads(cli("models", "list", "--json")[1]) == {"data": [model]}
    assert json.loads(cli("workers", "--json")[1]) == {"data": [worker]}


def test_version_and_help(cli):
    assert cli("--version") == (0, f"imagemill {__version__}\n", "")
    assert "blend" in cli("--help")[1]
    assert "--translate-to" in cli("blend", "--help")[1]


def test_ctrl_c_leaves_the_job_running(service, make, tmp_path):
    service.on_job(make.job("job_1", "running"))
    process = subprocess.Popen(
        [sys.executable, "-m", "imagemill", "generate", "a circle", "-o", "out"],
        env={**os.environ, "IMAGEMILL_URL": service.url},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores it, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not any(request.method == "GET" for request in service.requests):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].endswith("to go on: imagemill jobs watch job_1 -o out")
    assert "Traceback" not in err
    assert not [request for request in service.requests if "cancel" in request.path]


def test_bars_on_a_terminal_results_on_stdout(service, drawn, tmp_path):
    terminal, stderr = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "imagemill", "generate", "a circle", "-o", "out"],
        env={**os.environ, "IMAGEMILL_URL": service.url, "TERM": "xterm"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=PATIENCE_S,
    )
    os.close(stderr)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "out/image-0.png"
    assert "━" in shown
    assert "job_1" in shown


def test_outputs_that_are_not_there_are_not_printed(cli, service, make):
    outputs = {"caption": None, "translations": None, "images": [], "artifacts": []}
    service.on_job(
        make.job("job_1", "queued", queue_position=3),
        make.job("job_1", "succeeded", outputs=outputs),
    )
    status, out, err = cli("generate", "a circle")
    assert (status, out) == (0, "")
    assert err == "job_1 0% queued, position 3\njob_1 100% succeeded\n"
