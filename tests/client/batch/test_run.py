"""`imagemill batch run`: what is uploaded and asked, what comes back, and how it goes on."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile

import pytest

from tests.client.batch.conftest import BAD
from tests.client.conftest import PNG
from tests.waiting import PATIENCE_S

BATCHES = "/v1/batches"
RUN = ("batch", "run", "photos", "--kind", "caption", "-o", "out")


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_becomes_a_folder_of_results(cli, batches, photos, tmp_path):
    photos("photos/b.png", "photos/a/x.JPG", "photos/notes.txt", "photos/.hidden.png")
    photos("photos/.git/y.png", "photos/ä b.png")

    status, out, err = cli(*RUN, "--translate-to", "arb_Arab", "--model", "captioner=tiny")

    assert (status, out) == (0, "out/results.jsonl\nout/report.html\n"), err
    request = batches.request
    assert request["job"] == {
        "kind": "caption",
        "input": {"image": "$image", "translate_to": ["arb_Arab"]},
        "models": {"captioner": "tiny"},
    }
    lines = batches.manifest(request["source"])
    assert [(line["custom_id"], line["name"]) for line in lines] == [
        ("b.png", "b"),
        ("ä b.png", "ä b"),
        ("a/x.JPG", "a/x"),
    ]
    assert batches.files[lines[2]["image"]] == b"photos/a/x.JPG"
    names = [line["custom_id"] for line in read(tmp_path / "out/results.jsonl")]
    assert names == ["b.png", "ä b.png", "a/x.JPG"]
    for name in names:
        content = (tmp_path / "out/images" / name / "image-0.png").read_bytes()
        assert content == PNG + name.encode()
    assert (tmp_path / "out/report.html").read_bytes() == b"<html>"
    assert "uploading 3/3\n" in err
    assert "batch_1 0/3 in progress, 2.5/s, 0:01:30 left\n" in err
    assert "batch_1 3/3 completed\n" in err


def test_what_the_service_has_is_not_uploaded(cli, batches, photos, tmp_path):
    photos("photos/a.png", "photos/b.png", "photos/same.png")
    (tmp_path / "photos/same.png").write_bytes(b"photos/a.png")
    cli(*RUN)
    assert len(batches.uploads) == 3  # a, b and the manifest
    cli(*RUN[:-1], "elsewhere")
    assert len(batches.uploads) == 3
    assert len(batches.created) == 1  # asked twice with one key


def test_bad_files_and_failed_items_exit_1(cli, batches, photos, tmp_path):
    photos("photos/a.png", "photos/b.png", "photos/c.png", **{"photos/b.png": BAD})
    (tmp_path / "photos/gone.png").symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"photos/\xff.png")).write_bytes(b"1")
    batches.failing = {"c.png"}

    status, out, err = cli(*RUN)

    assert (status, out.split()[1]) == (1, "out/errors.jsonl")
    told = {line["custom_id"]: line["error"]["code"] for line in read(tmp_path / out.split()[1])}
    assert told == {
        "c.png": "invalid_image",
        "b.png": "invalid_image",
        "gone.png": "unreadable_file",
        "\\xff.png": "invalid_custom_id",
    }
    assert [line["custom_id"] for line in read(tmp_path / "out/results.jsonl")] == ["a.png"]
    assert "1 of 2 items have no result; to do them again: imagemill batch retry batch_1" in err
    assert "not uploaded: 3 (out/errors.jsonl tells why)" in err

    cli("batch", "watch", "batch_1", "-o", "out")
    assert len(read(tmp_path / "out/errors.jsonl")) == 4


def test_one_picture_with_every_other_and_values_of_fields(cli, batches, photos):
    photos("photos/a.png", "style.png")
    status, _, err = cli(
        *("batch", "run", "photos", "--kind", "blend", "-o", "out"),
        *("--set", "second=style.png", "--set", "n=2", "--set", "negative_prompt=7 dogs"),
        *("--metadata", "k=v", "--window", "22:00-06:00", "--timezone", "Europe/Berlin", "--reuse"),
    )
    assert status == 0, err
    given = batches.request["job"]["input"]
    assert batches.files[given.pop("second")] == b"style.png"
    assert given == {"first": "$image", "n": 2, "negative_prompt": "7 dogs"}
    named = ("metadata", "window", "timezone", "reuse")
    assert [batches.request[name] for name in named] == [
        *({"k": "v"}, "22:00-06:00", "Europe/Berlin", True),
    ]


def test_pairs_of_two_folders(cli, batches, photos):
    photos("left/a.png", "left/b.png", "right/a.jpg", **{"right/a.jpg": b"other"})
    photos("right/b.jpg", **{"right/b.jpg": BAD})
    status, _, err = cli(
        *("batch", "run", "left", "right", "--pairs", "name", "--kind", "panorama", "-o", "out")
    )
    assert status == 0, err
    assert "b.jpg: not an image" in err
    source = batches.request["source"]
    assert (source["type"], source["match"]) == ("pairs", "name")
    assert batches.request["job"]["input"] == {"left": "$first", "right": "$second"}
    names = [
        [line["name"] for line in batches.manifest(source[which])] for which in ("first", "second")
    ]
    assert names == [["a", "b"], ["a"]]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("s3://bucket/photos/", {"type": "s3_prefix", "url": "s3://bucket/photos/"}),
        ("s3://bucket/a.tar.gz", {"type": "archive", "url": "s3://bucket/a.tar.gz"}),
        ("s3://bucket/a.jsonl", {"type": "manifest", "url": "s3://bucket/a.jsonl"}),
    ],
)
def test_places_in_s3(cli, batches, source, expected):
    assert cli("batch", "run", source, "--kind", "ocr", "-o", "out")[0] == 0
    assert batches.request["source"] == expected
    assert batches.uploads == []


def test_an_archive_is_uploaded_once(cli, batches, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"1")
    for out in ("one", "two"):
        assert cli("batch", "run", "a.zip", "--kind", "caption", "-o", out)[0] == 0
    assert batches.request["source"]["type"] == "archive"
    assert batches.uploads == [(tmp_path / "a.zip").read_bytes()]


def test_a_file_of_requests(cli, batches, tmp_path):
    request = {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": {}}
    (tmp_path / "requests.jsonl").write_text(json.dumps(request) + "\n")
    assert cli("batch", "run", "requests.jsonl", "-o", "out/r.jsonl")[0] == 0
    [file] = batches.files
    assert batches.request == {
        "input_file_id": file,
        "endpoint": "/v1/images/generations",
        "completion_window": "24h",
    }
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {"r.jsonl", "r.errors.jsonl", "r.html", ".r.batch"}


def test_an_interrupted_upload_goes_on_with_the_same_command(cli, batches, photos, tmp_path):
    photos(*(f"photos/{number}.png" for number in range(3)))
    batches.service.on("POST", "/v1/batches", (500, {}, {"detail": "not now"}))
    assert cli(*RUN)[0] == 3
    database = sqlite3.connect(tmp_path / "out/.batch")
    kept = dict(database.execute("SELECT path, sha256 FROM digests"))
    database.close()
    assert len(kept) == 3
    batches.service.on("POST", "/v1/batches", batches.create)
    assert cli(*RUN)[0] == 0
    assert len(batches.uploads) == 4


def test_going_on_with_a_batch(cli, batches, photos, tmp_path):
    photos("photos/a.png", "photos/b.png")
    assert cli(*RUN, "--no-wait")[:2] == (0, "batch_1\n")
    assert "--resume goes on with it" in cli(*RUN)[2]
    status, _, err = cli(*RUN, "--translate-to", "fra_Latn", "--resume")
    assert (status, "the results of another run lie there, of batch_1" in err) == (2, True)

    asked = len(batches.service.requests)
    assert cli(*RUN, "--resume")[0] == 0
    methods = [request.method for request in batches.service.requests[asked:]]
    assert set(methods) == {"GET"}

    (tmp_path / "out/images/a.png/image-0.png").write_bytes(b"half")
    asked = len(batches.service.requests)
    assert cli(*RUN, "--resume")[0] == 0
    fetched = [r.path for r in batches.service.requests[asked:] if "artifacts" in r.path]
    assert len(fetched) == 1  # what lies there whole is not fetched again
    assert (tmp_path / "out/images/a.png/image-0.png").read_bytes() == PNG + b"a.png"


def test_a_damaged_picture_does_not_keep_the_others_away(cli, batches, photos, tmp_path):
    photos("photos/a.png", "photos/b.png")
    batches.states = ("completed",)
    cli(*RUN, "--no-wait")
    damaged = batches.job("a.png")["id"]
    batches.service.on("GET", f"/v1/jobs/{damaged}/artifacts/image-0.png", b"other")
    status, _, err = cli(*RUN, "--resume")
    assert status == 1
    assert "a.png: image-0.png of" in err
    assert (tmp_path / "out/images/b.png/image-0.png").is_file()
    assert not (tmp_path / "out/images/a.png/image-0.png").exists()


def test_a_name_never_leads_out_of_the_folder(cli, batches, tmp_path):
    names = ["../../evil", "/evil", "a/../../b"]
    lines = "".join(json.dumps({"custom_id": name, "image": "file_1"}) + "\n" for name in names)
    (tmp_path / "list.jsonl").write_text(lines)
    assert cli("batch", "run", "list.jsonl", "--kind", "caption", "-o", "out")[0] == 0
    saved = sorted(str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob("image-0.png"))
    assert saved == ["out/images/%../%../evil", "out/images/%/evil", "out/images/a/%../%../b"]


def test_a_source_that_was_of_no_use_is_tried_anew(cli, batches, photos):
    photos("photos/a.png")
    problem = {"code": "empty", "message": "no items in it", "line": None, "param": None}
    batches.states = ("failed",)
    batches.more = {"errors": {"data": [problem]}}
    status, out, err = cli(*RUN)
    assert (status, out) == (1, "")
    assert err.endswith("imagemill: batch_1 failed: no items in it\n")

    failed = (201, {}, batches.batch("failed"))
    batches.states = ("completed",)
    batches.service.on("POST", "/v1/batches", failed, batches.create)
    assert cli(*RUN, "--resume")[0] == 0
    posts = [r for r in batches.service.requests if (r.method, r.path) == ("POST", BATCHES)]
    keys = [request.headers["idempotency-key"] for request in posts]
    assert keys[0] == keys[1] != keys[2]


def test_created_but_not_begun(cli, batches, photos):
    photos("photos/a.png")
    batches.states = ("paused",)
    status, out, err = cli(*RUN, "--paused", "--json")
    assert (status, json.loads(out)["status"], batches.request["paused"]) == (0, "paused", True)
    assert "imagemill batch watch batch_1 -o out" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("empty --kind caption -o out", "empty: no pictures in it"),
        ("missing --kind caption -o out", "missing: No such file or directory"),
        ("notes.txt --kind caption -o out", "notes.txt: expected a folder, a zip"),
        ("photos -o out", "--kind is missing"),
        ("s3://bucket/a.jsonl -o out", "--kind is missing"),
        ("photos --kind caption -o notes.txt", "--out notes.txt: File exists"),
        ("photos --kind caption", "Missing option '--out'"),
        ("photos photos --kind blend -o out", "expected one source without --pairs: 2 given"),
        ("photos --pairs name --kind blend -o out", "expected two sources with --pairs: 1 given"),
        ("photos photos --pairs size --kind blend -o out", "'size' is not one of"),
        ("photos photos --pairs name --kind ocr -o out", "ocr does not take two pictures"),
        ("photos --kind sketch -o out", "--set FIELD='$image'"),
        ("photos --kind blend --set second=none.png -o out", "second: none.png: No such file"),
        ("photos --kind blend --set second -o out", "--set second: expected KEY=VALUE"),
        ("list.jsonl -o out", "list.jsonl: its first line is no request with a url"),
    ],
)
def test_wrong_usage_exits_2_and_uploads_nothing(cli, batches, photos, arguments, told, tmp_path):
    photos("photos/a.png", "notes.txt", "list.jsonl")
    (tmp_path / "empty").mkdir()
    status, out, err = cli("batch", "run", *arguments.split())
    assert (status, out) == (2, "")
    assert told in " ".join(err.split())
    assert batches.uploads == []


def test_two_runs_in_one_folder(cli, batches, photos, tmp_path):
    photos("photos/a.png", "out/keep.txt")
    other = sqlite3.connect(tmp_path / "out/.batch")
    other.execute("BEGIN EXCLUSIVE")
    status, _, err = cli(*RUN)
    other.close()
    assert (status, err) == (2, "imagemill: out/.batch: database is locked\n")


def started(service, tmp_path, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "imagemill", *RUN],
        env={**os.environ, "IMAGEMILL_URL": service.url, "TERM": "xterm"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores it, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def test_ctrl_c_leaves_the_batch_running(batches, photos, tmp_path):
    photos("photos/a.png")
    batches.states = ("in_progress",)
    process = started(batches.service, tmp_path, stderr=subprocess.PIPE)
    while not any(r.path == "/v1/batches/batch_1" for r in batches.service.requests):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].endswith("to go on: imagemill batch watch batch_1 -o out")
    assert "Traceback" not in err
    assert not [r for r in batches.service.requests if "cancel" in r.path]


def test_bars_on_a_terminal(batches, photos, tmp_path):
    photos("photos/a.png", "photos/b.png")
    terminal, stderr = pty.openpty()
    process = started(batches.service, tmp_path, stderr=stderr)
    out, _ = process.communicate(timeout=PATIENCE_S)
    os.close(stderr)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert (process.returncode, out) == (0, "out/results.jsonl\nout/report.html\n")
    assert "━" in shown
    assert "uploading" in shown
    assert "2/2" in shown
